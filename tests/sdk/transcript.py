"""Types what a page shows into Python, and prints what comes of it: the statements behind `>>>` and `...` of the first
block that begins with one, each with what it prints. Of an exception that is its last line, as pages show it.

    transcript.py PAGE SETUP...

Each SETUP is a statement that is executed before, and not shown.
"""

import ast
import builtins
import re
import sys

page, *setup = sys.argv[1:]
block = re.search(r"^```text\n(>>> .*?)^```$", open(page, encoding="utf-8").read(), re.MULTILINE | re.DOTALL).group(1)
names = {"__name__": "__main__"}
for statement in setup:
    exec(statement, names)


def typed(statement):
    """Runs it as the prompt does: the value of an expression is shown, unless there is none."""
    tree = ast.parse(statement)
    try:
        if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
            value = eval(compile(ast.Expression(tree.body[0].value), page, "eval"), names)
            if value is not None:
                print(builtins.repr(value))
        else:
            exec(compile(tree, page, "exec"), names)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")


said = []
for line in [*block.splitlines(), ">>> "]:
    if line.startswith("... "):
        said.append(line)
    elif line.startswith(">>> "):
        if said:
            print("\n".join(said))
            typed("\n".join(part[4:] for part in said))
        said = [line]
