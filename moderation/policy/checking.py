"""Type checks of conditions, so that a comparison that could never hold is refused instead of never firing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import cel

from moderation.policy.expression import (
    Binary,
    Call,
    Conditional,
    ExpressionError,
    ListNode,
    LiteralNode,
    Logical,
    Macro,
    Name,
    Node,
    Select,
    Unary,
)
from moderation.policy.vocabulary import CelType, Variable, Vocabulary, suggestion

Chain = tuple[str, str]
"""A variable and one of its members, such as ('nsfw', 'fpr')."""

WORDS: Mapping[CelType, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "double": "a number",
    "string": "text",
    "list": "a list",
    "any": "anything",
}

NUMBERS: Collection[CelType] = ("int", "double", "any")


@dataclass(frozen=True)
class Function:
    """A function of conditions: which types each argument may have (the target first), and what it yields."""

    arguments: tuple[Collection[CelType], ...]
    result: CelType
    method: bool
    usage: str


TEXT: Collection[CelType] = ("string", "any")
FUNCTIONS: Mapping[str, Function] = {
    "contains": Function((TEXT, TEXT), "bool", True, "text.contains('part')"),
    "startsWith": Function((TEXT, TEXT), "bool", True, "text.startsWith('start')"),
    "endsWith": Function((TEXT, TEXT), "bool", True, "text.endsWith('end')"),
    "matches": Function((TEXT, TEXT), "bool", True, "text.matches('pattern')"),
    "size": Function((("string", "list", "any"),), "int", True, "text.size()"),
    "double": Function((("int", "double"),), "double", False, "double(number)"),
    "int": Function((("int", "double"),), "int", False, "int(number)"),
}


@dataclass
class TypeChecker:
    """Finds the type of a condition's parts. `chains` gathers the members it reads, in order of appearance."""

    text: str
    vocabulary: Vocabulary
    scope: tuple[str, ...] = ()
    chains: list[Chain] = field(default_factory=list)

    def condition(self, node: Node) -> None:
        """Check that a tree is true or false of every image. Raises ExpressionError."""
        self.want_bool(node, "A condition")
        if not self.chains:
            raise ExpressionError(
                "The condition reads nothing of the image: it is always the same.",
                0,
                "Compare a label's member, as in `nsfw.fpr <= 0.001`.",
            )

    def of(self, node: Node) -> CelType:  # noqa: PLR0911 - one for each kind of node
        """The type of a part. Raises ExpressionError where it has none."""
        match node:
            case LiteralNode():
                return node.type
            case Name():
                return self._name(node)
            case Select():
                return self._select(node)
            case ListNode():
                return self._list(node)
            case Call():
                return self._call(node)
            case Macro():
                return self._macro(node)
            case Unary():
                return self._unary(node)
            case Logical():
                return self._logical(node)
            case Conditional():
                return self._conditional(node)
            case Binary():
                return self._binary(node)
        raise AssertionError(f"{type(node).__name__} has no type rule")

    def source(self, node: Node) -> str:
        return self.text[node.at : node.end]

    def want_bool(self, node: Node, what: str) -> None:
        if isinstance(node, Name) and node.name in self.vocabulary.variables:
            self._bare(node)
        found = self.of(node)
        if found not in ("bool", "any"):
            raise ExpressionError(
                f"{what} is true or false, and `{self.source(node)}` is {WORDS[found]}.",
                node.at,
                f"Compare it, as in `{self.source(node)} > 0`."
                if found in ("int", "double")
                else "Compare it with a value.",
            )

    def _bare(self, node: Name) -> None:
        variable = self.vocabulary.variables[node.name]
        example = "present" if "present" in variable.members else next(iter(variable.members))
        raise ExpressionError(
            f"`{node.name}` is not a value by itself.", node.at, f"Name a member, as in `{node.name}.{example}`."
        )

    def _name(self, node: Name) -> CelType:
        if node.name in self.scope:
            return "any"
        if node.name in self.vocabulary.variables:
            self._bare(node)
        raise ExpressionError(
            f"Unknown name `{node.name}`.", node.at, suggestion(node.name, [*self.vocabulary.variables, *self.scope])
        )

    def _select(self, node: Select) -> CelType:
        if not isinstance(node.operand, Name) or node.operand.name in self.scope:
            raise ExpressionError(f"`{self.source(node.operand)}` has no members.", node.member_at)
        variable = self.vocabulary.variables.get(node.operand.name)
        if not variable:
            raise ExpressionError(
                f"Unknown label `{node.operand.name}`.",
                node.at,
                suggestion(node.operand.name, self.vocabulary.variables),
            )
        if node.member not in variable.members:
            raise ExpressionError(*_no_member(variable, node))
        self.chains.append((variable.name, node.member))
        return variable.members[node.member].type

    def _list(self, node: ListNode) -> CelType:
        types = {self.of(item) for item in node.items}
        if len(types - {"any"}) > 1 and not types <= set(NUMBERS):
            raise ExpressionError("The items of a list are of one type.", node.at)
        return "list"

    def _call(self, node: Call) -> CelType:
        function = FUNCTIONS.get(node.function)
        if not function:
            known = [*FUNCTIONS, "exists", "all", "exists_one"]
            raise ExpressionError(f"Unknown function `{node.function}`.", node.at, suggestion(node.function, known))
        if node.method != function.method or len(node.arguments) != len(function.arguments):
            raise ExpressionError(f"`{node.function}` is not used like this.", node.at, f"Write `{function.usage}`.")
        for argument, wanted in zip(node.arguments, function.arguments, strict=True):
            found = self.of(argument)
            if found not in wanted:
                raise ExpressionError(
                    f"`{node.function}` does not take `{self.source(argument)}`, which is {WORDS[found]}.",
                    argument.at,
                    f"It is used as `{function.usage}`.",
                )
        if node.function == "matches":
            self._pattern(node.arguments[1])
        return function.result

    def _pattern(self, pattern: Node) -> None:
        if not isinstance(pattern, LiteralNode):
            raise ExpressionError("The pattern of `matches` is written out in the condition.", pattern.at)
        if "\b" in str(pattern.value):
            raise ExpressionError(
                "The pattern holds a backspace, which no text has.",
                pattern.at,
                r"For the edge of a word write r'\bword\b'.",
            )
        try:
            cel.evaluate("''.matches(p)", {"p": pattern.value})
        except RuntimeError as error:
            rows = [row.strip() for row in str(error).splitlines()]
            what = next((row for row in rows if row.startswith("error:")), rows[0])
            raise ExpressionError(
                f"`{pattern.value}` is not a pattern: {what.removeprefix('error: ').split('. Check function')[0]}.",
                pattern.at,
                "Patterns are written as in RE2; `(?i)` at the start ignores case.",
            ) from None

    def _macro(self, node: Macro) -> CelType:
        found = self.of(node.target)
        if found not in ("list", "any"):
            raise ExpressionError(f"`{self.source(node.target)}` is {WORDS[found]}, not a list.", node.target.at)
        if node.variable.name in self.vocabulary.variables:
            raise ExpressionError(
                f"`{node.variable.name}` is a variable already.", node.variable.at, "Take another name."
            )
        outer = self.scope
        self.scope = (*outer, node.variable.name)
        self.want_bool(node.body, f"What `{node.kind}` asks of an item")
        self.scope = outer
        return "bool"

    def _unary(self, node: Unary) -> CelType:
        if node.operator == "!":
            self.want_bool(node.operand, "What `!` turns round")
            return "bool"
        found = self.of(node.operand)
        if found not in NUMBERS:
            raise ExpressionError(f"`-` does not go with {WORDS[found]}.", node.at)
        return found

    def _logical(self, node: Logical) -> CelType:
        for part in node.parts:
            self.want_bool(part, f"Each side of `{node.operator}`")
        return "bool"

    def _conditional(self, node: Conditional) -> CelType:
        self.want_bool(node.test, "What stands before `?`")
        then, otherwise = self.of(node.then), self.of(node.otherwise)
        if not _comparable(then, otherwise):
            raise ExpressionError("Both sides of `:` are of one type.", node.otherwise.at)
        return then

    def _binary(self, node: Binary) -> CelType:
        left, right = self.of(node.left), self.of(node.right)
        if node.operator == "in":
            return self._in(node, left, right)
        if node.operator in ("+", "-", "*", "/", "%"):
            return self._arithmetic(node, left, right)
        ordered = node.operator not in ("==", "!=")
        if not _comparable(left, right) or (ordered and {left, right} & {"bool", "list"}):
            raise ExpressionError(
                f"`{self.source(node.left)}` is {WORDS[left]} and `{self.source(node.right)}` is {WORDS[right]}: "
                f"`{node.operator}` cannot compare them.",
                node.at,
                f"Compare `{self.source(node.left)}` with {WORDS[left]}." if not ordered or left != right else "",
            )
        return "bool"

    def _in(self, node: Binary, left: CelType, right: CelType) -> CelType:
        if right not in ("list", "any"):
            raise ExpressionError(
                f"`{self.source(node.right)}` is {WORDS[right]}, not a list.", node.right.at, "Write `x in ['a', 'b']`."
            )
        if isinstance(node.right, ListNode):
            for item in node.right.items:
                if not _comparable(left, self.of(item)):
                    raise ExpressionError(
                        f"`{self.source(node.left)}` is {WORDS[left]}: it is never `{self.source(item)}`.", item.at
                    )
        return "bool"

    def _arithmetic(self, node: Binary, left: CelType, right: CelType) -> CelType:
        kinds = {left, right} - {"any"}
        fits = len(kinds) <= 1 and kinds <= ({"int"} if node.operator == "%" else {"int", "double"})
        if not fits and not (node.operator == "+" and kinds == {"string"}):
            mixed = kinds == {"int", "double"}
            raise ExpressionError(
                f"`{node.operator}` does not go with {WORDS[left]} and {WORDS[right]}.",
                node.at,
                "Write whole numbers as `2.0`, or `double(count)`." if mixed else "",
            )
        return left if left != "any" else right


def _comparable(left: CelType, right: CelType) -> bool:
    return left == right or "any" in (left, right) or {left, right} <= set(NUMBERS)


def _no_member(variable: Variable, node: Select) -> tuple[str, int, str]:
    scored = "score" in variable.members
    if node.member == "fpr":
        hint = f"Compare `{variable.name}.{'score' if scored else 'present'}` instead."
        return f"The label `{variable.name}` is not calibrated: it has no `fpr`.", node.member_at, hint
    if node.member == "score" and variable.label:
        hint = f"Ask `{variable.name}.present` instead."
        return f"The label `{variable.name}` is a fact, not a measurement: it has no `score`.", node.member_at, hint
    return (
        f"`{variable.name}` has no member `{node.member}`.",
        node.member_at,
        suggestion(node.member, variable.members),
    )
