"""Makes the suite's case files, written for Python 2, readable for Python 3.

Octet strings of Python 2 become texts of Latin-1 characters, one per octet: every literal then
keeps its meaning, comparisons stay what they were, and only fuzz.py turns texts into bytes, where
they meet the protocol.
"""

import re
import shutil

# Compression, which the server does not offer, and a case that the suite itself leaves out.
LEFT_OUT = {"case12_x_x", "case9_9_1"}

RULES = [
    # Names of the suite's own modules.
    (r"^from case import Case\b", "from .case import Case"),
    (r"^from (case\d\w*) import", r"from .\1 import"),
    (r"^(\s*)import binascii$", r"\1import latin1 as binascii"),
    (r"^from autobahn\.websocket\.utf8validator import", "from latin1 import"),
    # What Python 3 names otherwise.
    (r"\bxrange\(", "range("),
    (r"\bunichr\(", "chr("),
    (r"^(\s*)print$", r"\1print()"),
    (r"^(\s*)print ([^(].*)$", r"\1print(\2)"),
    # A division of whole numbers.
    (r"len\(self\.payload\) / self\.", "len(self.payload) // self."),
    # No consistent order of bases in Python 3.
    (r"\(object, Case, \)", "(Case,)"),
]


def convert(source, target):
    """Writes the package `cases` from the suite's folder of case files."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(source.glob("*.py")):
        if path.stem not in LEFT_OUT:
            # Read as Latin-1: a literal that is UTF-8 in the file becomes its octets.
            text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
            text = re.sub(r"^#.*coding[:=].*\n", "", text, count=1, flags=re.MULTILINE)
            (target / path.name).write_text(converted(text), encoding="utf-8")


def converted(text):
    left_out = "|".join(sorted(LEFT_OUT))
    text = re.sub(rf"^from ({left_out}) import.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^Cas.*Case1[23]_X_X.*\n", "", text, flags=re.MULTILINE)
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text
