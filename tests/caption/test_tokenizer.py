"""The tokenizer against Stanford's: its answers written down, and, where it is installed, the program itself."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from striate.caption import tokenize

DATA = Path(__file__).parents[3] / "shared" / "data"
LEFT_OUT = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}

# What PTBTokenizer of Stanford CoreNLP 3.4.1 makes of these with -lowerCase, without the punctuation left out above.
ANSWERS = {
    "A man, a plan; a canal: Panama - it's -- well... here!": "a man a plan a canal panama it 's well here",
    "don't can't won't isnt DON'T he'll they've I'm we're she'd": (
        "do n't ca n't wo n't isnt do n't he 'll they 've i 'm we 're she 'd"
    ),
    "cannot gonna gotta lemme gimme wanna 'tis 'twas": "can not gon na got ta lem me gim me wan na 't is 't was",
    "the dogs' toys, James' bone, John's and the children's": "the dogs toys james bone john 's and the children 's",
    "(hello) [x] {y}": "-lrb- hello -rrb- -lsb- x -rsb- -lcb- y -rcb-",
    "a/b and/or AC/DC red/white/blue 24/7 w/o": "a/b and/or ac/dc red/white/blue 24/7 w/o",
    "12:30 p.m. at 5 a.m. in the U.S. with AT&T": "12:30 p.m. at 5 a.m. in the u.s. with at&t",
    "a&b B & W B&W black&white": "a & b b & w b&w black & white",
    "Mr. Smith and Mrs. Jones on St. Mark St. vs. etc. Ave.": "mr. smith and mrs. jones on st. mark st. vs. etc. ave.",
    "Vitamin C is in the sun. Mass. is a mass. No. 5, he said no.": (
        "vitamin c is in the sun mass. is a mass no. 5 he said no"
    ),
    "$5.00 50% 5,000 #1 #tag @name me@x.com": "$ 5.00 50 % 5,000 # 1 #tag @name me@x.com",
    "-5 +5 5-6 10x10 5'10\" 1st 747-400 1,2,3 .5": "-5 +5 5-6 10x10 5 10 1st 747-400 1,2,3 .5",
    "x1.5 1.5x two.3 2.three 3:00pm 5pm": "x1 .5 1.5 x two .3 2 three 3:00 pm 5pm",
    "wow!!! what?? a....b a--b a---b tri- colored twin-hulled": "wow !!! what ?? a. b a b a b tri colored twin-hulled",
    "café “quoted” ‘single’ it’s don’t – — … £5 €5 ½": "café quoted single it 's do n't # 5 $ 5 1/2",
    "man.The a,b c,d <b>bold</b> x=D :-)": "man.the a b c d <b> bold </b> x =d :--rrb-",
    "o'clock O'Neil d'Orsay Hawai'i ma'am 'em 'til '90s rock 'n' roll": (
        "o'clock o'neil d'orsay hawai'i ma'am 'em 'til '90s rock 'n' roll"
    ),
    "A street sign that reads K.": "a street sign that reads k",
    "1 1/2 cups &amp; &quot;more&quot;": "1 1/2 cups & more",
    "  ": "",
    ". ... --": "",
}


@pytest.mark.parametrize(("caption", "words"), ANSWERS.items())
def test_the_words_are_those_of_the_penn_treebank(caption, words):
    assert tokenize(caption) == words.split()


def flickr8k():
    path = DATA / "flickr8k" / "Flickr8k.token.txt.gz"
    if not path.exists():
        pytest.skip("shared/data/flickr8k is not there")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t")[1] for line in file]


def coco():
    path = DATA / "caption_metrics" / "captions_val2017.json.gz"
    if not path.exists():
        pytest.skip("shared/data/caption_metrics is not there")
    annotations = json.loads(gzip.decompress(path.read_bytes()))["annotations"]
    return [annotation["caption"].replace("\n", " ") for annotation in annotations]


@pytest.mark.parametrize("captions", [flickr8k, coco])
def test_the_program_itself_agrees_on_999_captions_of_1000(captions, tmp_path):
    package = pytest.importorskip("pycocoevalcap")
    if not shutil.which("java"):
        pytest.skip("java is not installed")
    jar = next(Path(package.__path__[0], "tokenizer").glob("*.jar"))
    texts = captions()
    (tmp_path / "captions.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    program = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run([*program, str(tmp_path / "captions.txt")], capture_output=True, check=True)
    lines = done.stdout.decode().split("\n")
    equal = [
        tokenize(text) == [word for word in line.split() if word not in LEFT_OUT]
        for text, line in zip(texts, lines, strict=False)
    ]
    assert len(lines) >= len(texts)
    assert sum(equal) >= 0.999 * len(equal)


def test_flickr8k_is_written_in_this_manner_already():
    """Its captions are tokens with spaces between: those that are words stay as they are."""
    texts = flickr8k()[::8]
    kept = [" ".join(tokenize(text)) for text in texts]
    given = [" ".join(w for w in text.lower().split() if w not in LEFT_OUT | {'"'}) for text in texts]
    assert sum(map(str.__eq__, kept, given)) >= 0.999 * len(texts)


def test_references_written_by_the_program_stay_as_they_are():
    path = DATA / "caption_metrics" / "fakecap_ptb_tokenized_refs.json"
    if not path.exists():
        pytest.skip("shared/data/caption_metrics is not there")
    references = [reference for image in json.loads(path.read_text()) for reference in image["refs"]]
    assert sum(" ".join(tokenize(text)) == text for text in references) >= 0.999 * len(references)
