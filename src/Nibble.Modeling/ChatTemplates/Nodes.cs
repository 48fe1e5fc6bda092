namespace Nibble.Modeling.ChatTemplates;

/// <summary>An expression of a template.</summary>
internal abstract record Expr(int Line);

internal sealed record Literal(object? Value, int Line) : Expr(Line);

internal sealed record Name(string Id, int Line) : Expr(Line);

internal sealed record ListExpr(IReadOnlyList<Expr> Items, bool IsTuple, int Line) : Expr(Line);

internal sealed record DictExpr(IReadOnlyList<(Expr Key, Expr Value)> Items, int Line) : Expr(Line);

internal sealed record Unary(string Op, Expr Operand, int Line) : Expr(Line);

internal sealed record Binary(string Op, Expr Left, Expr Right, int Line) : Expr(Line);

internal sealed record Comparison(Expr First, IReadOnlyList<(string Op, Expr Right)> Rest, int Line) : Expr(Line);

internal sealed record Conditional(Expr Test, Expr Then, Expr? Else, int Line) : Expr(Line);

internal sealed record Attribute(Expr Object, string Key, int Line) : Expr(Line);

internal sealed record Subscript(Expr Object, Expr Key, int Line) : Expr(Line);

internal sealed record Slice(Expr? Start, Expr? Stop, Expr? Step, int Line) : Expr(Line);

internal sealed record Arguments(IReadOnlyList<Expr> Positional, IReadOnlyList<(string Name, Expr Value)> Named)
{
    public static readonly Arguments None = new([], []);
}

internal sealed record Call(Expr Callee, Arguments Arguments, int Line) : Expr(Line);

internal sealed record Filter(Expr? Operand, string Name, Arguments Arguments, int Line) : Expr(Line);

internal sealed record Test(Expr Operand, string Name, Arguments Arguments, bool Negated, int Line) : Expr(Line);

/// <summary>A statement of a template.</summary>
internal abstract record Node(int Line);

internal sealed record Output(Expr Value, int Line) : Node(Line);

internal sealed record If(IReadOnlyList<(Expr Test, IReadOnlyList<Node> Body)> Branches, IReadOnlyList<Node> Else, int Line) : Node(Line);

internal sealed record For(Expr Target, Expr Items, Expr? Filter, IReadOnlyList<Node> Body, IReadOnlyList<Node> Else, bool Recursive, int Line) : Node(Line);

internal sealed record Set(Expr Target, Expr Value, int Line) : Node(Line);

internal sealed record SetBlock(Expr Target, Filter? Filter, IReadOnlyList<Node> Body, int Line) : Node(Line);

internal sealed record MacroDefinition(string Name, IReadOnlyList<(string Name, Expr? Default)> Parameters, IReadOnlyList<Node> Body, int Line) : Node(Line);

internal sealed record CallBlock(Call Call, MacroDefinition Caller, int Line) : Node(Line);

internal sealed record FilterBlock(Filter Filter, IReadOnlyList<Node> Body, int Line) : Node(Line);

internal sealed record With(IReadOnlyList<(Expr Target, Expr Value)> Bindings, IReadOnlyList<Node> Body, int Line) : Node(Line);

/// <summary>Marks what the assistant generated, for loss masks.</summary>
internal sealed record Generation(IReadOnlyList<Node> Body, int Line) : Node(Line);

internal sealed record LoopControl(bool Breaks, int Line) : Node(Line);
