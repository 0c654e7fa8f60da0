"""The command line's surface: what `--help` says, to the letter, and how mistakes in the call are answered."""

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import striate
from striate import optimizers
from striate.cli import app
from striate.data.augment.augmentation import AUGMENTATIONS
from striate.models import small

HELP = {
    "": """
Usage: striate [OPTIONS] COMMAND [ARGS]...

  A neural-network workbench for computer vision: build, count, train, see and
  use.

  Begin with: striate train digits

Options:
  --version  Show the version and exit.
  --help     Show this message and exit.

Commands:
  train     Train a network on a data set, test it, and write a report.
  sweep     Search for the settings that train best on a data set.
  evaluate  Test a trained model, on its own test part or on other data.
  predict   Say what is on images: the three most probable classes of each.
  caption   Describe images: a few, a folder of them, or those of a site.
  search    Find images by the words of their captions.
  export    Write a trained model as ONNX or for torch.export, and check...
  see       See what a network makes of an image: where it looks, its maps,...
  trace     Work a network by hand: each number, forwards and backwards.
  diagnose  Say what is wrong with a training, where, why it hurts, and...
  zoo       List the backbones of the zoo, or show what is known of one.
  summary   Show the layers of a model, what they give and what they cost.
  explain   Work out the parameters and neurons of a model, layer by layer.
  compare   Compare two models: what each costs, where they differ, and...
  memory    Predict the memory of a training step, without allocating it.
  budget    Find networks for a budget, or changes that meet it.
  neuron    Work out one artificial neuron, term by term.
  runs      List, filter, compare and draw runs.
  faces     Enrol people in a gallery, and say who is on new images.
""",
    "train": """
Usage: striate train [OPTIONS] [DATA]

  Train a network on a data set, test it, and write a report.

  Everything lands in one folder, runs/NAME: the configuration, the numbers of
  each epoch, the model, the results and report.html. The test part is used
  once, at the end; the curves are made with a part of the training data.

  Checkpoints are written each minute and each epoch until the run is finished:
  a run that was killed goes on from the last, and on a CPU ends in the same
  bits.

Arguments:
  DATA <str>  digits or shapes (embedded), a folder with one sub-folder of
              images per class, a CSV or JSONL file of paths and labels, a .tar
              of images and labels, a folder or file in the IDX format of MNIST,
              or an .npz file with the arrays x and y; for other tasks images
              with masks, boxes or captions.

Options:
  --task TASK              classification (or regression, where the data has
                           numbers), segmentation (a class for each pixel),
                           detection (a box around each object), faces (who it
                           is), caption (a sentence).  [default: classification]
  --model <str>            A small network (perceptron, dense, lenet, cnn, rnn),
                           a backbone that `striate zoo` lists,
                           torchvision:NAME, timm:NAME, or path.py:function. The
                           function takes the shape of one sample (height,
                           width, channels) and the number of classes, or
                           nothing. It returns a Striate model, which is fed
                           pixels from 0 to 255, or a torch module, which is fed
                           images channels-first, from 0 to 1; either gives one
                           probability or score for each class.  [default: cnn]
  --weights <str>          Begin with published weights of a backbone: imagenet,
                           or a .pth, .safetensors or .onnx file. A linear layer
                           is fitted to their features first; then the network
                           is fine-tuned.  [default: (fresh weights)]
  --epochs N               Passes over the training data; auto trains until the
                           validation loss no longer falls.  [default: (by the
                           size of the data)]
  --minutes <float range>  End the training in this time.  [default: (no limit);
                           x>=0.01]
  --name <str>             What the run is called.  [default: (the data and the
                           model)]
  --resume RUN             Go on with a run that was stopped or killed, by its
                           name or folder; nothing else need be given.
  --help                   Show this message and exit.

The recipe:
  --learning-rate RATE            The top of the one-cycle schedule; auto finds
                                  it in a range test of a hundred steps.
                                  [default: (three times the optimizer's own)]
  --batch-size N                  Samples in a step; auto takes the largest that
                                  fits into a GPU's memory.  [default: (by the
                                  size of the data)]
  --optimizer <str>               sgd, rmsprop, adam, adamw, adagrad, nadam or
                                  lion, with Keras's settings.  [default: adam]
  --weight-decay <float range>    Pull weights towards 0, but not biases and
                                  normalisations.  [default: (the optimizer's
                                  own); x>=0]
  --clip-norm <float range>       Shorten gradients whose norm, of all together,
                                  is larger.  [default: (none); x>=1e-12]
  --label-smoothing <float range>
                                  The share of each label that is spread over
                                  all classes.  [default: 0.0; 0<=x<=1]
  --fine-tune HOW                 With --weights: gradual thaws the network from
                                  its head down in the first half of the epochs;
                                  all trains it all from the beginning; none
                                  keeps the fitted linear layer on frozen
                                  features.  [default: gradual]
  --average                       Validate, save and test a moving average of
                                  the weights over the last steps.
  --patience <int range>          Stop after so many epochs without a lower
                                  validation loss, and keep the best weights.
                                  [default: (trains all epochs); x>=1]

The data:
  --augment NAMES                What is done to training images at random: auto
                                 chooses by task, size and epochs; none; or
                                 names: flip, pad_crop, rotate, translate,
                                 scale, random_resized_crop, color_jitter, blur,
                                 cutout, mixup, cutmix, randaugment.  [default:
                                 auto]
  --balance HOW                  Make all classes count alike: weights (in the
                                 loss), or sampling (each comes equally often).
                                 [default: (as they come)]
  --image-size SIZE              Height and width to which a folder's images are
                                 fitted: 64, or 48x64.  [default: (their own, or
                                 a square of at most 128)]
  --test-fraction <float>        The part held out to test on, of each class;
                                 not where the data has a test part.  [default:
                                 0.2]
  --validation-fraction <float>  The part of the training data held out to draw
                                 the curves with; not where the data has one.
                                 [default: (a tenth)]
  --columns PAIRS                What a list calls its columns of file, label,
                                 labels, group and split:
                                 label=diagnosis,group=site.
  --test-time-augmentation       Predict by the mean over each image and its
                                 mirror image or shifts, as the network was
                                 trained on.

Captions:
  --cell NAME        What writes the words: lstm or gru.  [default: lstm]
  --attention NAME   Where it looks for each word: bahdanau (before the word),
                     luong (after it), or none.  [default: luong]
  --thaw-after N     With --weights: after so many of the epochs the backbone
                     learns as well.  [default: (it stays as it is); x>=0]
  --self-critical N  Then train for N more epochs on CIDEr, the measure of
                     captions (self-critical training).  [default: (none); x>=1]

The machine:
  --device <str>            Where to train: cpu, cuda, mps.  [default: (an
                            accelerator if there is one)]
  --precision <str>         Of the steps: float32, bf16, or auto: bf16 where the
                            machine and the model gain by it.  [default: auto]
  --accumulate <int range>  Take each batch in so many pieces, which saves
                            memory.  [default: 1; x>=1]
  --devices N               Train in so many processes on this machine, each on
                            a GPU of its own if there are any; a batch is that
                            of all together. For several machines: torchrun ...
                            -m striate train.  [default: 1; x>=1]
  --shard                   Keep a part of the weights in each process, for
                            models that do not fit.
  --sync-batch-norm         Batch normalisations see the batches of all
                            processes.

The run:
  --seed <int range>   What the split, the first weights and the order of
                       samples are drawn from.  [default: 0; x>=0]
  --config FILE        Train again as the config.json of a run says; what is
                       given beside it counts.
  --track SERVICES     Log to these too: tensorboard, wandb, mlflow.  [default:
                       (the run's folder alone)]
  --runs-folder <str>  The folder of all runs.  [default: runs]
""",
    "evaluate": """
Usage: striate evaluate [OPTIONS] {RUN} [DATA]

  Test a trained model, on its own test part or on other data.

Arguments:
  RUN <str>   The name of a run, or its folder.  [required]
  DATA <str>  A data set, as for train; its test part, if it has one.  [default:
              (the run's test part)]

Options:
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.
""",
    "predict": """
Usage: striate predict [OPTIONS] {RUN} {IMAGE}...

  Say what is on images: the three most probable classes of each.

Arguments:
  RUN <str>          The name of a run, its folder, or an exported file.
                     [required]
  IMAGE <list[str]>  Image files.  [required]

Options:
  --json               Print JSON with the probability of every class.
  --output FOLDER      Draw boxes or masks onto the images, into this folder.
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.
""",
    "caption": """
Usage: striate caption [OPTIONS] {RUN} {PATH}...

  Describe images: a few, a folder of them, or those of a site.

  A few are printed. A folder gives a list of captions, and goes on where the
  same command was stopped. In the pages of a site, images without an alt text
  get one; nothing else changes.

Arguments:
  RUN <str>         A run of `striate train --task caption`, or its folder.
                    [required]
  PATH <list[str]>  Image files, or one folder with images at any depth, or a
                    site: an HTML page, or a folder that holds some. With
                    --output, --metadata or --index, such a folder is one of
                    images.  [required]

What is said:
  --preset <str>    plain; alt (a sentence without 'image of'); social (that,
                    and up to three hashtags); product (a template filled from a
                    catalogue).  [default: (plain; for a site alt)]
  --catalogue FILE  For product: CSV with a column image (paths or names) and
                    any others.
  --template TEXT   For product: '{name} in {colour}: {caption}'.

A few images:
  --json            Print JSON, with the confidence of each word, and the second
                    and third best captions.
  --picture FOLDER  Draw where each word looked, a PNG for each image in this
                    folder.

A folder or a site:
  --output FILE             The captions as .csv or .jsonl. Rows that are there
                            are kept, unless the image changed.  [default:
                            (captions.csv)]
  --metadata                Write what is said into the images too: XMP of JPEG
                            and PNG files; pixels and dates stay.
  --index FILE              Add what is said to an index for `striate search`,
                            such as captions.sqlite.
  --least-confidence SHARE  Captions below go to the review list, not into
                            images or pages. The confidence is the geometric
                            mean of the words' probabilities.  [default: 0.35;
                            0<=x<=1]
  --review FILE             The review list, CSV, the least sure first.
                            [default: (review.csv beside the output)]
  --overwrite               Replace texts that images or pages have already;
                            people may have written them.
  --dry-run                 Of a site, print what would change, and write
                            nothing.

Options:
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.
""",
    "search": """
Usage: striate search [OPTIONS] {WORDS}...

  Find images by the words of their captions.

Arguments:
  WORDS <list[str]>  Words that the caption holds: 'red circle' also finds
                     circles; '"red circle"' finds them side by side, 'circle
                     -square' leaves out squares.  [required]

Options:
  --index FILE         The index, made by `striate caption RUN FOLDER --index
                       FILE`.  [default: captions.sqlite]
  --limit <int range>  How many to show, the best first.  [default: 20; x>=1]
  --json               Print JSON.
  --help               Show this message and exit.
""",
    "export": """
Usage: striate export [OPTIONS] {RUN}

  Write a trained model as ONNX or for torch.export, and check the file.

  The file is run and held against the model before it gets its name. It says of
  itself what it takes and gives: striate predict model.onnx IMAGE. Needs: pip
  install 'striate[export]'

Arguments:
  RUN <str>  The name of a run, or its folder.  [required]

Options:
  --to FORMAT          onnx, or torch: a program of torch.export.  [default:
                       onnx]
  --output FILE        Where to write.  [default: (model.onnx or model.pt2 in
                       the run)]
  --batch N            How many images the file takes at once; free for any
                       number.  [default: free]
  --opset N            The version of ONNX's operators.  [default: (torch's
                       choice)]
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.

8-bit integers:
  --int8                    Weights and activations in 8 bits, if the test part
                            agrees.
  --max-drop <float range>  By how much its accuracy (or R²) may fall.
                            [default: 0.01; 0<=x<=1]
""",
    "zoo": """
Usage: striate zoo [OPTIONS] [NAME]

  List the backbones of the zoo, or show what is known of one.

  MACs and neurons are for one image of the published size, top-1 is the
  published accuracy on ImageNet in percent, of the weights imagenet1k_v1. Every
  command that takes a MODEL takes these names.

Arguments:
  NAME <str>  One of them, for its card: resnet18.  [default: (list all)]

Options:
  --family NAME       Only those of one kind: resnet, vgg, ...  [default: (all)]
  --max-params COUNT  At most so many parameters: 5M.  [default: (no limit)]
  --max-macs COUNT    At most so many multiply-accumulates: 1G.  [default: (no
                      limit)]
  --min-top1 PERCENT  At least this published accuracy on ImageNet: 70.
                      [default: (no limit); 0<=x<=100]
  --sort KEY          The best first by top1, the smallest by parameters, macs
                      or neurons; or by year or name.  [default: (year)]
  --format <str>      table, json, csv or markdown; of one network, table or
                      json.  [default: table]
  --help              Show this message and exit.
""",
    "summary": """
Usage: striate summary [OPTIONS] {MODEL}

  Show the layers of a model, what they give and what they cost.

Arguments:
  MODEL <str>  A small network (perceptron, dense, lenet, cnn, rnn), also for a
               data set (dense-mnist); a backbone of `striate zoo` (resnet18);
               torchvision:NAME, timm:NAME, path.py:function; a run, a file
               (.safetensors, .pt2, .onnx, .keras), or a folder of Hugging Face.
               [required]

Options:
  --format <str>            layers, or every module with its operations:
                            modules, markdown, csv, json, html, svg.  [default:
                            (layers of Striate's models, modules of others)]
  --depth <int range>       How deep to go into modules inside modules.
                            [default: (all the way); x>=1]
  --columns NAMES           What to show of each module: parameters,neurons,macs
                            ,positions,receptive_field,...  [default:
                            (output_shapes,parameters,neurons,macs)]
  --all-operations          Also show the small operations, such as activations.
  --batch-size <int range>  Samples at once.  [default: (1); x>=1]
  --output FILE             Write it to a file.  [default: (printed)]
  --input SIZES             The shape of one sample, in the model's own order:
                            28x28x1, or 3x224x224 for the zoo, torchvision and
                            timm.  [default: (the model's own, or 28x28x1)]
  --classes <int range>     The number of classes.  [default: (the model's own,
                            or 10); x>=2]
  --runs-folder <str>       The folder of all runs.  [default: runs]
  --help                    Show this message and exit.
""",
    "explain": """
Usage: striate explain [OPTIONS] {MODEL} [LAYER]

  Work out the parameters and neurons of a model, layer by layer.

Arguments:
  MODEL <str>  A small network (perceptron, dense, lenet, cnn, rnn), also for a
               data set (dense-mnist); a backbone of `striate zoo` (resnet18);
               torchvision:NAME, timm:NAME, path.py:function; a run, a file
               (.safetensors, .pt2, .onnx, .keras), or a folder of Hugging Face.
               [required]
  LAYER <str>  One layer's name, or a module's: layer1.0.conv1.  [default: (all
               layers)]

Options:
  --input SIZES          The shape of one sample, in the model's own order:
                         28x28x1, or 3x224x224 for the zoo, torchvision and
                         timm.  [default: (the model's own, or 28x28x1)]
  --classes <int range>  The number of classes.  [default: (the model's own, or
                         10); x>=2]
  --runs-folder <str>    The folder of all runs.  [default: runs]
  --help                 Show this message and exit.
""",
    "compare": """
Usage: striate compare [OPTIONS] {MODEL} {MODEL}

  Compare two models: what each costs, where they differ, and what shared
  weights save.

Arguments:
  MODEL <str>  A small network (perceptron, dense, lenet, cnn, rnn), also for a
               data set (dense-mnist); a backbone of `striate zoo` (resnet18);
               torchvision:NAME, timm:NAME, path.py:function; a run, a file
               (.safetensors, .pt2, .onnx, .keras), or a folder of Hugging Face.
               [required]
  MODEL <str>  A small network (perceptron, dense, lenet, cnn, rnn), also for a
               data set (dense-mnist); a backbone of `striate zoo` (resnet18);
               torchvision:NAME, timm:NAME, path.py:function; a run, a file
               (.safetensors, .pt2, .onnx, .keras), or a folder of Hugging Face.
               [required]

Options:
  --output FILE          Draw it too: compare.png, .svg, .pdf, or a page, .html.
                         [default: (not drawn)]
  --input SIZES          The shape of one sample, in the model's own order:
                         28x28x1, or 3x224x224 for the zoo, torchvision and
                         timm.  [default: (the model's own, or 28x28x1)]
  --classes <int range>  The number of classes.  [default: (the model's own, or
                         10); x>=2]
  --runs-folder <str>    The folder of all runs.  [default: runs]
  --help                 Show this message and exit.
""",
    "memory": """
Usage: striate memory [OPTIONS] {MODEL}

  Predict the memory of a training step, without allocating it.

Arguments:
  MODEL <str>  A small network (perceptron, dense, lenet, cnn, rnn), also for a
               data set (dense-mnist); a backbone of `striate zoo` (resnet18);
               torchvision:NAME, timm:NAME, path.py:function; a run, a file
               (.safetensors, .pt2, .onnx, .keras), or a folder of Hugging Face.
               [required]

Options:
  --batch-size <int range>  Samples in a step.  [default: 32; x>=1]
  --optimizer <str>         sgd, rmsprop, adam, adamw, adagrad, nadam or lion.
                            [default: adamw]
  --precision <str>         float32, or bf16: autocast, with float32 weights.
                            [default: float32]
  --device <str>            cpu, or cuda: predicted, also where there is none.
                            [default: cpu]
  --checkpoint              Run repeated blocks again in the backward pass, to
                            keep less.
  --savings                 Say what bf16, checkpointing, another optimiser or
                            batch would save.
  --gpu SIZE                Find the largest batch that fits a GPU: 24GB.
                            [default: (not asked)]
  --picture FILE            Draw the step: memory.png.  [default: (not drawn)]
  --input SIZES             The shape of one sample, in the model's own order:
                            28x28x1, or 3x224x224 for the zoo, torchvision and
                            timm.  [default: (the model's own, or 28x28x1)]
  --classes <int range>     The number of classes.  [default: (the model's own,
                            or 10); x>=2]
  --runs-folder <str>       The folder of all runs.  [default: runs]
  --help                    Show this message and exit.
""",
    "budget": """
Usage: striate budget [OPTIONS] [MODEL]

  Find networks for a budget, or changes that meet it.

  Give at least one limit. What --output writes can be trained as it is: striate
  train DATA --model model.py:build

Arguments:
  MODEL <str>  A model that is over the budget, as for summary: lenet, resnet18,
               a run, a file, ...  [default: (propose new ones)]

Options:
  --params COUNT            Learned parameters: 100k, 1.5M.  [default: (no
                            limit)]
  --macs COUNT              Multiply-accumulates for one sample: 20M.  [default:
                            (no limit)]
  --memory SIZE             Peak of a training step: 8GB.  [default: (no limit)]
  --batch-size <int range>  Samples in that step.  [default: 32; x>=1]
  --input SIZES             The shape of one sample, in the model's own order:
                            28x28x1, or 3x224x224 for the zoo, torchvision and
                            timm.  [default: (the model's own, or 28x28x1)]
  --classes <int range>     The number of classes.  [default: (the model's own,
                            or 10); x>=2]
  --code N                  Which proposal's code to show.  [default: 1; x>=1]
  --output FILE             Write that code into a new file.  [default: (shown)]
  --runs-folder <str>       The folder of all runs.  [default: runs]
  --help                    Show this message and exit.
""",
    "neuron": """
Usage: striate neuron [OPTIONS]

  Work out one artificial neuron, term by term.

Options:
  --inputs NUMBERS    Its inputs: 1,2,3.  [required]
  --weights NUMBERS   One weight for each.  [required]
  --bias <float>      What is added to the weighted sum.  [default: 0.0]
  --activation <str>  What the sum goes through: relu, sigmoid, step, ...
                      [default: linear]
  --help              Show this message and exit.
""",
    "sweep": """
Usage: striate sweep [OPTIONS] [DATA]

  Search for the settings that train best on a data set.

  Each trial is a run in runs/SWEEP/NUMBER, judged on the validation data; one
  that falls behind the median of those before is stopped early. The test part
  stays unseen: the command that is printed at the end trains the best settings
  again and tests them. Needs: pip install 'striate[sweep]'

Arguments:
  DATA <str>  A data set, as for train.  [default: (that of --resume)]

Options:
  --trials <int range>     How many trainings.  [default: (20, or as before);
                           x>=1]
  --model <str>            Keep to one model: a small network, or
                           path.py:function.  [default: (dense, lenet, cnn and
                           rnn)]
  --epochs <int range>     Passes over the training data in each.  [default: (by
                           the size of the data); x>=1]
  --space FILE.json        What to search instead, for any of model, optimizer,
                           learning_rate and batch_size: a list of choices, or
                           {"low": 1e-4, "high": 0.1, "log": true}.  [default:
                           (sensible ranges of all four)]
  --resume SWEEP           Go on with a sweep that was stopped; --trials adds
                           more.  [default: (a new one)]
  --seed <int range>       What all is drawn from, as for train.  [default: 0;
                           x>=0]
  --test-fraction <float>  The part that no trial sees, as for train.  [default:
                           0.2]
  --image-size SIZE        Height and width of a folder's images, as for train.
                           [default: (as for train)]
  --name <str>             What the sweep is called.  [default: (DATA-sweep)]
  --runs-folder <str>      The folder of all runs.  [default: runs]
  --device <str>           Where to train: cpu, cuda, mps.  [default: (an
                           accelerator if there is one)]
  --help                   Show this message and exit.
""",
    "see": """
Usage: striate see [OPTIONS] {RUN} {IMAGE}

  See what a network makes of an image: where it looks, its maps, its filters.

Arguments:
  RUN <str>    The name of a run, or its folder.  [required]
  IMAGE <str>  An image file.  [required]

Options:
  --layer NAME         The layer to look at, as summary has it.  [default: (some
                       of all depths)]
  --class NAME         The class to explain.  [default: (the one it predicts)]
  --out FILE           Where the page goes.  [default: (see-IMAGE.html in the
                       run)]
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.
""",
    "trace": """
Usage: striate trace [OPTIONS] {MODEL} [SAMPLE]

  Work a network by hand: each number, forwards and backwards.

  Every weighted sum, activation, derivative, gradient and update is worked out
  by itself, and held to what torch and autograd give. The network answers as in
  use: without dropout, and with the statistics that it learned.

Arguments:
  MODEL <str>   A run, a small network (perceptron, dense, lenet, cnn, rnn),
                path.py:function, or a file that Striate saved.  [required]
  SAMPLE <str>  What it is given: an image file, or numbers with commas between
                them, 0.5,1; after -- if the first is negative.  [default: (the
                first of the run's test part, with its label; of other models,
                numbers that are drawn)]

Options:
  --target CLASS         The right answer, for the way back: a class by its name
                         or number, or as many numbers as there are outputs.
                         [default: (without SAMPLE, the run's own; else the way
                         back is left out)]
  --loss <str>           What the answer is held to the target with.  [default:
                         (the model's; or by the target)]
  --optimizer <str>      Work a step of it for each weight too: sgd, adam, ...
                         [default: (no step)]
  --at LAYER=PLACE       What to write out of a large layer, counted from 0:
                         conv2d=2,0,5 (map, row, column), dense=3. Can be
                         repeated.  [default: (all of small layers, the first
                         place of large ones)]
  --format <str>         text, markdown with formulas, or html, one page.
                         [default: (by FILE, or text)]
  --output FILE          Write it to a file.  [default: (printed)]
  --input SIZES          The shape of one sample, in the model's own order:
                         28x28x1, or 3x224x224 for the zoo, torchvision and
                         timm.  [default: (the model's own, or 28x28x1)]
  --classes <int range>  The number of classes.  [default: (the model's own, or
                         10); x>=2]
  --runs-folder <str>    The folder of all runs.  [default: runs]
  --help                 Show this message and exit.
""",
    "diagnose": """
Usage: striate diagnose [OPTIONS] {RUN}

  Say what is wrong with a training, where, why it hurts, and what to change.

  A run holds what was measured while it trained. Of one that does not, the
  first 200 steps are taken again.

Arguments:
  RUN <str>  The name of a run, or its folder.  [required]

Options:
  --picture FILE       Draw gradients, changes of the weights and activations by
                       layer and step: diagnosis.png.  [default: (not drawn)]
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.
""",
    "runs": """
Usage: striate runs [OPTIONS] [RUN]...

  List, filter, compare and draw runs.

  Runs that are named are compared side by side: the settings in which they
  differ, and all results. The trials of a sweep are the runs of its folder:
  --runs-folder runs/SWEEP.

Arguments:
  RUN <list[str]>  Runs to compare, by name or folder.  [default: (list all)]

Options:
  --sort KEY           The best first by accuracy, val_loss, seconds, ...; a
                       minus turns the order: -seconds.  [default: (the newest
                       first)]
  --filter CONDITIONS  Only runs that meet all of them: 'model=cnn
                       accuracy>0.98', with = != < <= > >=.  [default: (all
                       runs)]
  --columns KEYS       What to show of each: learning_rate,val_loss,... from its
                       config.json, the last row of history.csv and
                       metrics.json.  [default: (the most important)]
  --limit <int range>  How many to show.  [default: (all); x>=1]
  --format <str>       table, or json with everything.  [default: table]
  --plot FILE          Draw their validation curves: runs.png, .svg or .pdf.
                       [default: (not drawn)]
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.
""",
    "faces": """
Usage: striate faces [OPTIONS] COMMAND [ARGS]...

  Enrol people in a gallery, and say who is on new images.

  A gallery holds embeddings, which are personal data: an ordinary file on this
  machine, without images.

Options:
  --help  Show this message and exit.

Commands:
  enrol   Add images of a person to a gallery.
  match   Say who is on images, or that it is nobody in the gallery.
  list    Say who is enrolled, with how many images.
  remove  Take a person out of a gallery.
""",
    "faces enrol": """
Usage: striate faces enrol [OPTIONS] {GALLERY} {RUN} {PERSON} {IMAGE}...

  Add images of a person to a gallery.

Arguments:
  GALLERY <str>      The gallery's file; made if there is none yet.  [required]
  RUN <str>          A run of `striate train --task faces`, or its folder.
                     [required]
  PERSON <str>       The person's name.  [required]
  IMAGE <list[str]>  Image files: faces, cut out as for the training.
                     [required]

Options:
  --runs-folder <str>  The folder of all runs.  [default: runs]
  --help               Show this message and exit.
""",
    "faces match": """
Usage: striate faces match [OPTIONS] {GALLERY} {RUN} {IMAGE}...

  Say who is on images, or that it is nobody in the gallery.

Arguments:
  GALLERY <str>      The gallery's file.  [required]
  RUN <str>          A run of `striate train --task faces`, or its folder.
                     [required]
  IMAGE <list[str]>  Image files: faces, cut out as for the training.
                     [required]

Options:
  --threshold <float range>  The least similarity that makes a face a person's.
                             [default: (the run's, which at most 1 in 100 pairs
                             of strangers reached in its test); -1<=x<=1]
  --json                     Print JSON.
  --runs-folder <str>        The folder of all runs.  [default: runs]
  --help                     Show this message and exit.
""",
    "faces list": """
Usage: striate faces list [OPTIONS] {GALLERY}

  Say who is enrolled, with how many images.

Arguments:
  GALLERY <str>  The gallery's file.  [required]

Options:
  --help  Show this message and exit.
""",
    "faces remove": """
Usage: striate faces remove [OPTIONS] {GALLERY} {PERSON}

  Take a person out of a gallery.

Arguments:
  GALLERY <str>  The gallery's file.  [required]
  PERSON <str>   The person's name.  [required]

Options:
  --help  Show this message and exit.
""",
}


@pytest.fixture
def call(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, list(arguments), prog_name="striate")


@pytest.mark.parametrize("command", HELP)
def test_help(call, command):
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert result.output == HELP[command].lstrip("\n")


def test_no_command_is_without_a_golden_help(call):
    listed = call("--help").output.partition("Commands:\n")[2].split("\n")
    assert {line.split()[0] for line in listed if line} == {name.partition(" ")[0] for name in HELP} - {""}


def test_help_imports_nothing_heavy():
    code = """
import sys
from striate.cli import main
sys.argv = ["striate", "--help"]
try:
    main()
except SystemExit as end:
    assert end.code == 0
heavy = {"torch", "numpy", "matplotlib", "sklearn", "PIL", "rich"}
print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"


def test_the_help_names_every_network_and_every_optimizer():
    assert f"({', '.join(small.names())})" in " ".join(HELP["train"].split())
    for name in ("sgd", "rmsprop", "adam", "adamw", "adagrad", "nadam", "lion"):
        assert optimizers.get(name)
        assert name in HELP["train"]


def test_the_help_names_every_augmentation():
    names = {name for name in AUGMENTATIONS if name.islower()} - {"normalize", "pipeline"}
    assert len(names) == 12
    for name in names:
        assert re.search(rf"\b{name}[,.]", " ".join(HELP["train"].split()))


def test_version(call):
    assert call("--version").output == f"striate {striate.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train', 'trace'?"),
        (["--verison"], "No such option: --verison. Did you mean '--version'?"),
        (["train", "digits", "--epoch", "3"], "No such option: --epoch. Did you mean '--epochs'?"),
        (["neuron", "--inputs", "1"], "Missing option '--weights'"),
        (["train"], "Missing argument 'DATA'"),
        (["train", "digits", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["train", "digits", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["summary", "cnn", "--classes", "1"], "Invalid value for '--classes'"),
    ],
)
def test_a_wrong_call_is_answered_in_one_line(call, arguments, answer):
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Error: {answer}" in result.stderr
    assert result.stderr.count("\n") <= 5  # the usage, a hint, an empty line, the error
