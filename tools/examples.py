"""The examples of the pages: blocks of code with a language, some with the reason why they are not run."""

import re

EXAMPLE = re.compile(
    r"(?P<head><!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
