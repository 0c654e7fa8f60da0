"""Captions to words as the Penn Treebank writes them: what captioning metrics compare, and what a vocabulary holds.

The rules give the tokens of Stanford's PTBTokenizer in lower case, without the punctuation that captioning evaluations
leave out. Case matters while words are told apart ("B&W" is one word, "a&b" is three) and is dropped afterwards.
"""

from __future__ import annotations

import re

_LEFT_OUT = re.compile(r"""-+|\.|\.\.\.|[?!,:;'`"]|''|``""")  # brackets are kept: they are words such as "-lrb-"
_WRITTEN = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}
_WRITTEN |= {"’": "'", "‘": "`", "“": '"', "”": '"'}
_WRITTEN |= {"–": "--", "—": "--", "…": "...", "£": "#", "€": "$", "½": "1/2", "¼": "1/4", "¾": "3/4"}
_SPELLED = re.compile("|".join(map(re.escape, _WRITTEN)))
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_BRACKET = re.compile(r"[][(){}]")

# Words that keep their full stop, wherever they stand; with a capital only; and before a number only.
_ABBREVIATIONS = (
    "adj adm adv al ala alex apr ariz assn assoc asst atty aug ave bhd bldg blvd brig bros calif capt cf cie cmdr co "
    "col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov "
    "govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky lt ltd maj mar md messrs mfg mich minn mlle mme "
    "mo mon mont mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph ph.d plc pres prof pvt rd rep reps rev "
    "rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs tue tues univ va vs vt wed wis "
    "wisc wm wyo"
).split()
_OF_CAPITALS = "ark az del ill la mass miss ore pa tex wash".split()
_OF_NUMBERS = "art ca fig figs no nos op pp prop".split()
_CONTRACTED = r"'(?:[msd]|re|ve|ll)(?!\w)"
_PATTERN = re.compile(
    rf"""
    (?:https?://|www\.)[^\s<>"]+[^\s<>".,;:!?)]                    # addresses of pages
  | [a-z0-9][\w.]*@[\w.]*\w                                        # and of people
  | </?[a-z!][^<>]*>                                               # tags
  | [<>]?[:;=][-o*']?[()DPdpO\\{{@|\[\]](?!\w)                     # faces
  | [@\#][a-z_]\w*
  | can(?=not\b) | (?:gon|wan)(?=na\b) | got(?=ta\b) | (?:lem|gim)(?=me\b) | 't(?=(?:is|was)\b)
  | (?:{"|".join(map(re.escape, _ABBREVIATIONS))})\.(?!\w)
  | (?-i:(?=[A-Z]))(?:{"|".join(_OF_CAPITALS)})\.(?!\w)
  | (?:{"|".join(_OF_NUMBERS)})\.(?=\s*\d)
  | [a-z](?:\.[a-z])+\b\.?
  | [a-z]\.(?![a-z]{{2}}|\s*$|\s+(?-i:A|The)\b)                # initials, but for those that end a sentence
  | \w+?(?=n't\b) | n't\b                                          # do n't
  | {_CONTRACTED}
  | 'n' | '(?:n|em|til|cause|tis|twas)\b | '\d\ds\b
  | y'(?=all\b) | ol'
  | [cdlno]'[a-z]\w+(?:-\w+)* | [a-z]+[aeiou]'[aeiou]\w*          # o'clock, Hawai'i
  | (?-i:[A-Z]+&[A-Z]+)
  | (?<![\w-])[-+]?(?:\d+(?:[.:,/]\d+)+|\.\d+)
  | \w+(?:/\w+)+
  | (?<![\w-])[-+]\d\w*
  | [a-z]+(?:\.[a-z]+)+\b
  | \.\d+
  | \w+(?:-\w+)*
  | \.\.\. | --+ | !+ | \?+
  | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


def tokenize(text: str) -> list[str]:
    """The words of a caption.

    Args:
        text: a sentence or more, as people write it.

    Returns:
        Lower-case words; contractions are two ("do", "n't"), and a word with a hyphen is one.

    Example:
        >>> tokenize("A dog's toy isn't red, it's a black-and-white ball.")
        ['a', 'dog', "'s", 'toy', 'is', "n't", 'red', 'it', "'s", 'a', 'black-and-white', 'ball']
    """
    spelled = _SPELLED.sub(lambda found: _WRITTEN[found[0]], text)
    tokens = (_BRACKET.sub(lambda bracket: _BRACKETS[bracket[0]], found).lower() for found in _PATTERN.findall(spelled))
    return [word for token in tokens for word in token.split() if not _LEFT_OUT.fullmatch(word)]
