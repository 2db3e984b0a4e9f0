"""What the source says to people, read by `ast`: phrases with `{}` for each value in them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = "{}"

SAYING = {
    *("spoken", "warn", "Capability", "Doubt", "Figure", "Found", "Line", "Nearest", "Unserved"),
    *("Finding", "Lacking", "LeftOut", "Wait", "says"),
}
"""Calls whose texts are shown, as those of every error."""
KEYWORDS = {"cure", "message", "help", "wide", "title"}
"""Of such a call; others are data."""
LABELLING = {"Grid", "add_row", "Option", "Argument", "Typer"}
"""Calls of which that is shown which is written there as it is: headings, helps of options."""
TABLES = {
    *("_CLOSED", "_CODES", "_CURES", "_FOR_NOW", "_MEMORY", "_PASSWORD", "_REFUSALS"),
    *("EXAMPLE", "FORMS", "LACKING", "MEANINGS", "SUMMARIES", "TWICE"),
    *("_WANTED", "_OTHERS", "_TEXTS"),
}
"""What holds messages until one of them is chosen."""
ANSWERING = {
    "_cure_of",
    *("_by_memory", "_cure_of_versions", "_later", "_less", "_unavailable", "_why", "_why_alone"),
    *(
        "_how_in_time",
        "_too_dear",
        "_too_late",
        "_too_much",
        "_why_tokens",
        "_why_weights",
        "cut_by",
        "missing",
        "to_convert",
        "named_by",
        "refused",
    ),
    *("_bounded", "_reason", "__str__", "says", "columns", "_pair", "_texts"),
    *(
        "note_left_out",
        "note_most",
        "note_no_4_bits",
        "note_on_reference",
        "note_same",
        "note_unknown",
    ),
    *("note_skipped", "note_unfit", "note_unplanned", "note_unread"),
    *("not_judged", "why_moved", "why_not", "why_not_comparable", "why_unreachable"),
    *("on_trial", "why_not_against", "said_of", "_untold", "_another_set"),
    *("_too_few", "_too_soon", "_one_video", "_one_label", "why_due", "why_unfit", "_rows_or_why"),
    *(
        "_comes_first",
        "_learned_too_much",
        "_looked_just_now",
        "_unknown_start",
        "_not_ended",
        "_on_trial",
        "unknown_word",
    ),
}
"""Functions whose results are shown."""
ANSWERING_MODULE = "producer/verbs/checks.py"
LABELS_OF = {"_provenance"}
"""Generators of names and values."""
NO_PHRASES = {
    # Units and sizes are the same in both.
    *("{} d {} h", "{} h {} min", "{} min {} s", "{} s", "{} B", "{} {}iB", "etag"),
}


@cache
def sources() -> dict[str, ast.Module]:
    """Path -> its tree, of all that speaks."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for package in ("shared", "producer", "workers")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


@cache
def said() -> dict[str, str]:
    """Phrase -> where it is said first; those that have something to translate."""
    found: dict[str, str] = {}
    for path, tree in sources().items():
        for phrase, line in Phrases(tree, path).said.items():
            found.setdefault(phrase, f"{path}:{line}")
    return found


@cache
def written() -> set[str]:
    """Every text that the source holds, with all that its parts may come to."""
    found: set[str] = set()
    for path, tree in sources().items():
        found |= Phrases(tree, path).said.keys()
        found |= Everything(tree).found
    return found


@cache
def error_names() -> set[str]:
    names = {"JamakError", "ValueError"}
    classes = [
        one
        for tree in sources().values()
        for one in ast.walk(tree)
        if isinstance(one, ast.ClassDef)
    ]
    while True:
        more = {
            one.name
            for one in classes
            if any(isinstance(base, ast.Name) and base.id in names for base in one.bases)
        }
        if more <= names:
            return names
        names |= more


class Reading(ast.NodeVisitor):
    """Knows what each name may stand for, where it is used."""

    def __init__(self, tree: ast.Module) -> None:
        self._scopes = [_assigned(tree)]
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._scopes.append(_assigned(node))
        self.look_into(node)
        self.generic_visit(node)
        self._scopes.pop()

    def look_into(self, node: ast.FunctionDef) -> None:
        """A function, with its names known."""

    def phrases(self, node: ast.AST | None) -> list[str]:
        """All that an expression may come to."""
        match node:
            case ast.Constant(value=str(text)):
                return [text.replace("{", "{{").replace("}", "}}")]
            case ast.JoinedStr(values=parts):
                return _joined([self.phrases(part) for part in parts])
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self._inserted(value)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return _joined([self.phrases(left), self.phrases(right)])
            case ast.IfExp(body=body, orelse=orelse):
                return [*self.phrases(body), *self.phrases(orelse)]
            case ast.BoolOp(values=values):
                return [one for value in values for one in self.phrases(value)]
            case ast.Call(func=ast.Attribute(value=value, attr="strip")):
                return self.phrases(value)
            case ast.Name(id=name):
                return self._phrases_named(name)
        return [PLACE]

    def _inserted(self, value: ast.expr) -> list[str]:
        """Into a text: a phrase becomes a part of it, unless it might be anything else as well."""
        found = self.phrases(value)
        if PLACE in found:
            self.nested([one for one in found if one != PLACE])
            return [PLACE]
        chosen = isinstance(value, ast.IfExp) or any(" " in one for one in found)
        return found if chosen and ("" in found or any(map(_has_letters, found))) else [PLACE]

    def nested(self, phrases: list[str]) -> None:
        """Phrases that stand for a value of another."""

    def _phrases_named(self, name: str) -> list[str]:
        for scope in reversed(self._scopes):
            if name in scope:
                values, scope[name] = scope[name], []  # no circles
                found = [one for value in values for one in self.phrases(value)]
                scope[name] = values
                return found or [PLACE]
        return [PLACE]


class Everything(Reading):
    def __init__(self, tree: ast.Module) -> None:
        self.found: set[str] = set()
        super().__init__(tree)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant | ast.JoinedStr):
            self.found.update(self.phrases(node))
        super().generic_visit(node)


class Phrases(Reading):
    """`said`: phrase -> line, of one module."""

    def __init__(self, tree: ast.Module, path: str) -> None:
        self.said: dict[str, int] = {}
        self._path = path
        super().__init__(tree)

    def nested(self, phrases: list[str]) -> None:
        for phrase in phrases:
            if " " in phrase:
                self._note(phrase, 0)

    def look_into(self, node: ast.FunctionDef) -> None:
        answers = node.name in ANSWERING or (
            self._path == ANSWERING_MODULE
            and node.returns is not None
            and ast.unparse(node.returns) == "str"
        )
        for one in _own(node):
            if isinstance(one, ast.Return) and answers:
                parts = one.value.elts if isinstance(one.value, ast.Tuple) else [one.value]
                for part in parts:
                    self._say(part)
            if isinstance(one, ast.Yield) and node.name in LABELS_OF:
                assert isinstance(one.value, ast.Tuple)
                self._say(one.value.elts[0], label=True)
        verb = any("command" in ast.unparse(one) for one in node.decorator_list)
        if self._path in VERB_MODULES and (verb or node.name in VERBS):
            for text in (ast.get_docstring(node) or "").split("\n\n"):
                self._note(" ".join(text.split()), node.lineno)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for one in node.body:
            targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
            if any(isinstance(name, ast.Name) and name.id == "cure" for name in targets):
                self._say(getattr(one, "value", None))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._table(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._table([node.target], node.value)

    def _table(self, targets: list[ast.expr], value: ast.expr | None) -> None:
        if value is None:
            return
        if any(getattr(name, "id", "") in TABLES for name in targets):
            for one in _shown(value):
                for phrase in self.phrases(one):
                    # One of them is a text of `str.format`.
                    self._note(re.sub(r"{{\w+(:g)?}}", PLACE, phrase), value.lineno)
        self.visit(value)

    def visit_Raise(self, node: ast.Raise) -> None:
        if isinstance(node.exc, ast.Call) and _name(node.exc) != "AssertionError":
            self._call(node.exc)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name(node)
        called = ast.unparse(node.func)
        if name in SAYING | error_names() or called == "super().__init__":
            self._call(node)
        elif name in LABELLING:
            for one in [*(node.args[:1] if name == "add_row" else node.args), *_keywords(node)]:
                for part in one.elts if isinstance(one, ast.Tuple) else [one]:
                    if isinstance(part, ast.Starred):
                        self._headings(part)
                    elif isinstance(part, ast.Constant | ast.JoinedStr | ast.Name):
                        self._say(part, label=True)
        self.generic_visit(node)

    def _headings(self, node: ast.Starred) -> None:
        for value in self._scopes[-1].get(getattr(node.value, "id", ""), []):
            for one in value.elts if isinstance(value, ast.Tuple) else []:
                self._say(one, label=True)

    def _call(self, node: ast.Call) -> None:
        for one in [*node.args, *_keywords(node)]:
            self._say(one)

    def _say(self, node: ast.expr | None, label: bool = False) -> None:
        for phrase in self.phrases(node):
            if label or " " in phrase:
                self._note(phrase, getattr(node, "lineno", 0))

    def _note(self, phrase: str, line: int) -> None:
        if has_words(phrase) and phrase not in NO_PHRASES:
            self.said.setdefault(phrase, line)


VERB_MODULES = {path for path in sources() if path.startswith(("producer/verbs/", "workers/data/"))}
VERB_MODULES |= {"workers/backbone/verbs.py", "workers/cli.py", "workers/plan.py"}
VERBS = {
    *("cards", "costs", "doctor", "enqueue", "export", "feed", "frames", "get", "listen", "plan"),
    *("import_set", "pairs", "recaption", "reconcile", "show", "show_cards", "split", "stats"),
    *("status", "upload", "validate", "adapters_diff", "adapters_show", "adapters_verify"),
    *("feedback_export", "feedback_import", "retrain"),
}
"""Functions that are verbs by an entry point."""


def has_words(phrase: str) -> bool:
    """Whether there is anything to translate: no option, address, variable or code."""
    code = r"`[^`]*`|\b[a-z0-9]+://\S*|\bJAMAK_\w+|--[a-z-]+|\S*/\S*\.\w+|\{\}\S*|\S*\{\}"
    return bool(re.search(r"[A-Za-z]{2,}", re.sub(code, "", phrase)))


def _has_letters(text: str) -> bool:
    return bool(re.search(r"[A-Za-z]", text))


def _shown(value: ast.expr) -> Iterator[ast.expr]:
    """Of a table the texts that are shown; the rest is what they are chosen by."""
    match value:
        case ast.Dict(values=values):
            yield from values
        case ast.Tuple(elts=[ast.Name() | ast.Attribute(), _, what, cure]):
            yield from (what, cure)
        case ast.Tuple(elts=parts):
            for part in parts:
                yield from _shown(part)
        case ast.Constant():
            yield value


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in _own(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _pair(target, node.value, found)
        elif isinstance(node, ast.AnnAssign) and node.value:
            _pair(node.target, node.value, found)
    return found


def _pair(target: ast.expr, value: ast.expr, found: dict[str, list[ast.expr]]) -> None:
    if isinstance(target, ast.Name):
        found.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            _pair(one, its, found)


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """All in it that is not in a function or class of its own."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own(child)


def _joined(parts: list[list[str]]) -> list[str]:
    found = []
    for some in product(*parts):
        text = "".join(some)
        while PLACE * 2 in text:
            text = text.replace(PLACE * 2, PLACE)
        found.append(text)
    return list(dict.fromkeys(found))


def _keywords(call: ast.Call) -> list[ast.expr]:
    return [one.value for one in call.keywords if one.arg in KEYWORDS]


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))
