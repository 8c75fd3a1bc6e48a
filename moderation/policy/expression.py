"""The syntax tree of a condition, for checks at load time; `cel` itself evaluates conditions.

Covers the part of CEL (github.com/google/cel-spec, doc/langdef.md) that policies may use: numbers, strings, booleans
and lists; operators; members; functions and the macros over lists. What is left out (maps, bytes, unsigned numbers,
null, indexing) is refused with what to write instead.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cel

from moderation.policy.vocabulary import CelType

MAX_LENGTH = 4_000
MAX_DEPTH = 32
MAX_CHAIN = 64

MACROS = ("exists", "all", "exists_one")


class ExpressionError(Exception):
    """A condition that cannot stand: what is wrong, at which offset of its text (from 0), and the mend."""

    def __init__(self, message: str, at: int, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.at, self.hint = message, at, hint


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a condition, from offset `at` up to `end`."""

    at: int
    end: int


@dataclass(frozen=True, slots=True)
class LiteralNode(Node):
    type: CelType
    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    operand: Node
    member: str
    member_at: int


@dataclass(frozen=True, slots=True)
class ListNode(Node):
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function; as a method, its target is the first argument."""

    function: str
    method: bool
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Macro(Node):
    kind: str
    target: Node
    variable: Name
    body: Node


@dataclass(frozen=True, slots=True)
class Unary(Node):
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logical(Node):
    """`&&` or `||` over two or more parts."""

    operator: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    test: Node
    then: Node
    otherwise: Node


Kind = Literal["float", "int", "string", "name", "operator", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    kind: Kind
    text: str
    at: int


_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*)
    |(?P<float>\d*\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
    |(?P<int>0x[0-9a-fA-F]+|\d+)
    |(?P<string>[rR]?(?:'{3}(?:\\.|[^\\])*?'{3}|"{3}(?:\\.|[^\\])*?"{3}|'(?:\\.|[^\\'\n])*'|"(?:\\.|[^\\"\n])*"))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<operator>&&|\|\||==|!=|<=|>=|[<>!+\-*/%?:,.()\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_RAW = re.compile(r"""[rR](?:'{3}.*?'{3}|"{3}.*?"{3}|'[^'\n]*'|"[^"\n]*")""", re.DOTALL)
_RELATIONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a condition, ending with one of kind `end`. Raises ExpressionError."""
    at = 0
    while at < len(text):
        raw = _RAW.match(text, at)
        match = raw or _TOKEN.match(text, at)
        if not match:
            raise ExpressionError(f"`{text[at]}` is not used in conditions.", at)
        kind: Any = "string" if raw else match.lastgroup
        if kind != "skip":
            yield Token(kind, match.group(), at)
        at = match.end()
    yield Token("end", "", len(text))


class Parser:
    """Recursive descent over a text that `cel` has accepted already."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(tokens(text))
        self.position = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    @property
    def last_end(self) -> int:
        token = self.tokens[self.position - 1]
        return token.at + len(token.text)

    def take(self) -> Token:
        token = self.token
        self.position += 1
        return token

    def accept(self, *texts: str) -> Token | None:
        """The next token where it is one of these operators or `in`, else None."""
        return self.take() if self.token.kind in ("operator", "name") and self.token.text in texts else None

    def expect(self, text: str) -> Token:
        token = self.accept(text)
        if not token:
            raise ExpressionError(f"`{text}` is missing here.", self.token.at)
        return token

    def parse(self) -> Node:
        node = self.conditional()
        if self.token.kind != "end":
            raise ExpressionError(f"`{self.token.text}` is not expected here.", self.token.at)
        return node

    def conditional(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"The condition is nested deeper than {MAX_DEPTH} levels.", self.token.at)
        test = self.logical("||")
        if self.accept("?"):
            then = self.logical("||")
            self.expect(":")
            test = Conditional(test.at, self.last_end, test, then, self.conditional())
        self.depth -= 1
        return test

    def logical(self, operator: str) -> Node:
        parts = [self._below_logical(operator)]
        while self.accept(operator):
            parts.append(self._below_logical(operator))
        return parts[0] if len(parts) == 1 else Logical(parts[0].at, self.last_end, operator, tuple(parts))

    def _below_logical(self, operator: str) -> Node:
        return self.logical("&&") if operator == "||" else self.relation()

    def relation(self) -> Node:
        return self._chain(self.sum, *_RELATIONS)

    def sum(self) -> Node:
        return self._chain(self.product, "+", "-")

    def product(self) -> Node:
        return self._chain(self.unary, "*", "/", "%")

    def _chain(self, operand: Any, *operators: str) -> Node:
        node: Node = operand()
        for _ in range(MAX_CHAIN):
            operator = self.accept(*operators)
            if not operator:
                return node
            node = Binary(node.at, self.last_end, operator.text, node, operand())
        raise ExpressionError(f"More than {MAX_CHAIN} operations follow each other.", self.token.at)

    def unary(self) -> Node:
        signs = []
        while operator := self.accept("!", "-"):
            signs.append(operator)
        if len(signs) > MAX_DEPTH:
            raise ExpressionError(f"The condition is nested deeper than {MAX_DEPTH} levels.", signs[0].at)
        node = self.postfix(self.primary())
        for sign in reversed(signs):
            node = _negated(node, sign)
        return node

    def postfix(self, node: Node) -> Node:
        for _ in range(MAX_CHAIN):
            if self.accept("."):
                node = self._member(node)
            elif self.token.text == "[":
                raise ExpressionError(
                    "Indexing is not used in conditions.",
                    self.token.at,
                    "Write `label.member`, or `list.exists(x, …)`.",
                )
            else:
                return node
        raise ExpressionError(f"More than {MAX_CHAIN} members follow each other.", self.token.at)

    def _member(self, target: Node) -> Node:
        member = self.take()
        if member.kind != "name":
            raise ExpressionError(f"`{member.text}` is not the name of a member.", member.at)
        if not self.accept("("):
            return Select(target.at, self.last_end, target, member.text, member.at)
        arguments = self._arguments(")")
        if member.text not in MACROS:
            return Call(target.at, self.last_end, member.text, True, (target, *arguments))
        match arguments:
            case (Name() as variable, body):
                return Macro(target.at, self.last_end, member.text, target, variable, body)
        raise ExpressionError(
            f"`{member.text}` takes a name and a condition.", member.at, "Write `list.exists(x, x == …)`."
        )

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while not self.accept(closing):
            if found:
                self.expect(",")
                if self.accept(closing):
                    break
            found.append(self.conditional())
        return tuple(found)

    def primary(self) -> Node:
        token = self.take()
        if token.kind in ("float", "int", "string") or token.text in ("true", "false"):
            return self._literal(token)
        if token.text == "(":
            node = self.conditional()
            self.expect(")")
            return node
        if token.text == "[":
            return ListNode(token.at, self.last_end, self._arguments("]"))
        if token.kind != "name" or token.text in ("null", "in"):
            raise ExpressionError(f"`{token.text}` is not used in conditions here.", token.at)
        if self.accept("("):
            arguments = self._arguments(")")
            return Call(token.at, self.last_end, token.text, False, arguments)
        return Name(token.at, self.last_end, token.text)

    def _literal(self, token: Token) -> Node:
        if token.kind == "int" and self.token.text.startswith(("u", "U")):
            raise ExpressionError("Unsigned numbers are not used in conditions.", token.at, f"Write `{token.text}`.")
        types: dict[str, CelType] = {"float": "double", "int": "int", "string": "string", "name": "bool"}
        return LiteralNode(token.at, self.last_end, types[token.kind], cel.evaluate(token.text))


def _negated(node: Node, sign: Token) -> Node:
    if sign.text == "-" and isinstance(node, LiteralNode) and node.type in ("int", "double"):
        return LiteralNode(sign.at, node.end, node.type, -node.value)
    return Unary(sign.at, node.end, sign.text, node)


_CEL_AT = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


def compile_condition(text: str) -> tuple[cel.Program, Node]:
    """A condition compiled for evaluation, and its tree for checks. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"The condition has {len(text)} characters, more than {MAX_LENGTH}.", 0, "Split the rule."
        )
    try:
        program = cel.compile(text)
    except ValueError as error:
        raise _syntax_error(text, str(error)) from None
    return program, Parser(text).parse()


def _syntax_error(text: str, message: str) -> ExpressionError:
    match = _CEL_AT.search(message)
    if not match:
        return ExpressionError(f"This is not CEL: {message.splitlines()[0]}.", 0)
    line, column, what = int(match[1]), int(match[2]), match[3]
    before = sum(len(row) for row in text.splitlines(keepends=True)[: line - 1])
    at = min(before + column - 1, len(text))
    return ExpressionError(f"This is not CEL: {what.split(' expecting ')[0]}.", at, _other_languages(text, at))


def _other_languages(text: str, at: int) -> str:
    """A hint where the word at or before an error is another language's operator."""
    words = {"and": "&&", "or": "||", "not": "!", "=": "=="}
    near = [*re.findall(r"\w+|=+", text[:at])[-1:], *re.findall(r"\w+|=+", text[at:])[:1]]
    found = next((word for word in reversed(near) if word in words), "")
    return f"Write `{words[found]}` for `{found}`." if found else ""
