using System.Text;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>Runs the tree of a template.</summary>
internal sealed class Interpreter
{
    private readonly Budget budget = new();
    private readonly Filters filters;
    private readonly List<(int Start, int End)> generations = [];
    private StringBuilder output = new();
    private bool capturing;

    public Interpreter() => filters = new Filters(budget);

    public IReadOnlyList<(int Start, int End)> Generations => generations;

    public string Run(IReadOnlyList<Node> nodes, Scope scope)
    {
        Execute(nodes, scope);
        return output.ToString();
    }

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    // ---- statements

    private Flow Execute(IReadOnlyList<Node> nodes, Scope scope)
    {
        foreach (Node node in nodes)
        {
            budget.Step();
            Flow flow = Execute(node, scope);
            if (flow != Flow.Next)
            {
                return flow;
            }
        }

        return Flow.Next;
    }

    private Flow Execute(Node node, Scope scope)
    {
        switch (node)
        {
            case Output print:
                Write(Values.Text(Evaluate(print.Value, scope)));
                return Flow.Next;
            case If branch:
                IReadOnlyList<Node> chosen = branch.Branches.FirstOrDefault(item => Values.IsTrue(Evaluate(item.Test, scope))).Body ?? branch.Else;
                return Execute(chosen, scope);
            case For loop:
                Loop(loop, Evaluate(loop.Items, scope), scope, depth: 1);
                return Flow.Next;
            case Set set:
                Assign(set.Target, Evaluate(set.Value, scope), scope);
                return Flow.Next;
            case SetBlock block:
                string text = Capture(block.Body, new Scope(scope));
                Assign(block.Target, block.Filter is null ? text : Evaluate(Feed(block.Filter, text), scope), scope);
                return Flow.Next;
            case MacroDefinition macro:
                scope[macro.Name] = Macro(macro, scope);
                return Flow.Next;
            case CallBlock call:
                var inner = new Scope(scope);
                inner["caller"] = Macro(call.Caller, scope);
                Write(Values.Text(CallWithCaller(call.Call, inner)));
                return Flow.Next;
            case FilterBlock block:
                Write(Values.Text(Evaluate(Feed(block.Filter, Capture(block.Body, new Scope(scope))), scope)));
                return Flow.Next;
            case With with:
                var bound = new Scope(scope);
                foreach ((Expr target, Expr value) in with.Bindings)
                {
                    Assign(target, Evaluate(value, scope), bound);
                }

                return Execute(with.Body, bound);
            case Generation generation:
                int start = output.Length;
                Flow flow = Execute(generation.Body, new Scope(scope));
                if (!capturing)
                {
                    generations.Add((start, output.Length));
                }

                return flow;
            case LoopControl control:
                return control.Breaks ? Flow.Break : Flow.Continue;
            default:
                throw new InvalidOperationException($"No rule for {node.GetType().Name}.");
        }
    }

    private void Write(string text)
    {
        budget.Step(text.Length / 64);
        output.Append(text);
        Budget.RequireSize(output.Length);
    }

    /// <summary>What a body prints, instead of printing it.</summary>
    private string Capture(IReadOnlyList<Node> body, Scope scope)
    {
        (StringBuilder before, bool wasCapturing) = (output, capturing);
        (output, capturing) = (new StringBuilder(), true);
        Execute(body, scope);
        string text = output.ToString();
        (output, capturing) = (before, wasCapturing);
        return text;
    }

    /// <summary>A chain of filters with text at its start.</summary>
    private static Filter Feed(Filter filter, string text)
    {
        Budget.RequireStack();
        return filter with { Operand = filter.Operand is Filter inner ? Feed(inner, text) : new Literal(text, filter.Line) };
    }

    private void Loop(For loop, object? iterable, Scope scope, int depth)
    {
        List<object?> items = [];
        foreach (object? item in Values.Items(iterable).ToList())
        {
            if (loop.Filter is not null)
            {
                var trial = new Scope(scope);
                Assign(loop.Target, item, trial);
                if (!Values.IsTrue(Evaluate(loop.Filter, trial)))
                {
                    continue;
                }
            }

            items.Add(item);
        }

        for (int i = 0; i < items.Count; i++)
        {
            budget.Step();
            var inner = new Scope(scope);
            inner["loop"] = LoopValue(loop, items, i, scope, depth);
            Assign(loop.Target, items[i], inner);
            if (Execute(loop.Body, inner) == Flow.Break)
            {
                break;
            }
        }

        if (items.Count == 0)
        {
            Execute(loop.Else, new Scope(scope));
        }
    }

    private LoopContext LoopValue(For loop, List<object?> items, int index, Scope scope, int depth)
    {
        DictValue values = Values.ToDict(
        [
            ("index", index + 1L), ("index0", (long)index), ("revindex", (long)(items.Count - index)), ("revindex0", items.Count - index - 1L),
            ("first", index == 0), ("last", index == items.Count - 1), ("length", (long)items.Count),
            ("depth", (long)depth), ("depth0", depth - 1L),
            ("previtem", index > 0 ? items[index - 1] : new Undefined("previtem")),
            ("nextitem", index + 1 < items.Count ? items[index + 1] : new Undefined("nextitem")),
            ("cycle", new Callable((arguments, _) => arguments[index % arguments.Count])),
        ]);
        Callable? recurse = !loop.Recursive ? null : (arguments, _) => budget.Nested<object?>(() =>
        {
            (StringBuilder before, bool wasCapturing) = (output, capturing);
            (output, capturing) = (new StringBuilder(), true);
            Loop(loop, arguments[0], scope, depth + 1);
            string text = output.ToString();
            (output, capturing) = (before, wasCapturing);
            return text;
        });
        return new LoopContext(values, recurse);
    }

    private void Assign(Expr target, object? value, Scope scope)
    {
        switch (target)
        {
            case Name name:
                scope[name.Id] = value;
                break;
            case Attribute attribute:
                NamespaceValue space = Evaluate(attribute.Object, scope) as NamespaceValue
                    ?? throw Fail(attribute, "assigns to an attribute of something that is not a namespace");
                space.Values[attribute.Key] = value;
                break;
            case ListExpr targets:
                List<object?> items = Values.Items(value);
                if (items.Count != targets.Items.Count)
                {
                    throw Fail(target, $"unpacks {items.Count} values into {targets.Items.Count} names");
                }

                for (int i = 0; i < items.Count; i++)
                {
                    Assign(targets.Items[i], items[i], scope);
                }

                break;
        }
    }

    private Callable Macro(MacroDefinition macro, Scope scope) => (arguments, named) => budget.Nested<object?>(() =>
    {
        var inner = new Scope(scope);
        for (int i = 0; i < macro.Parameters.Count; i++)
        {
            (string name, Expr? fallback) = macro.Parameters[i];
            inner[name] = i < arguments.Count ? arguments[i]
                : named.TryGetValue(name, out object? value) ? value
                : fallback is null ? new Undefined(name) : Evaluate(fallback, inner);
        }

        if (arguments.Count > macro.Parameters.Count)
        {
            inner["varargs"] = new TupleValue(arguments.Skip(macro.Parameters.Count));
        }

        if (named.TryGetValue("caller", out object? caller))
        {
            inner["caller"] = caller;
        }

        return Capture(macro.Body, inner);
    });

    private object? CallWithCaller(Call call, Scope scope)
    {
        (List<object?> positional, Dictionary<string, object?> named) = Evaluate(call.Arguments, scope);
        named["caller"] = scope["caller"];
        return Callee(call, scope)(positional, named);
    }

    // ---- expressions

    private static ChatTemplateException Fail(Expr where, string problem) => new($"line {where.Line}: {problem}");

    private object? Evaluate(Expr expr, Scope scope)
    {
        budget.Step();
        Budget.RequireStack();
        try
        {
            return Value(expr, scope);
        }
        catch (ChatTemplateException exception) when (!exception.RaisedByTemplate && !exception.Message.StartsWith("line ", StringComparison.Ordinal))
        {
            throw Fail(expr, exception.Message);
        }
    }

    private object? Value(Expr expr, Scope scope) => expr switch
    {
        Literal literal => literal.Value,
        Name name => scope[name.Id],
        ListExpr { IsTuple: true } tuple => new TupleValue(tuple.Items.Select(item => Evaluate(item, scope))),
        ListExpr list => list.Items.Select(item => Evaluate(item, scope)).ToList(),
        DictExpr dict => Dict(dict, scope),
        Unary unary => Operators.Unary(unary.Op, Evaluate(unary.Operand, scope)),
        Binary { Op: "and" } both => Evaluate(both.Left, scope) is var left && Values.IsTrue(left) ? Evaluate(both.Right, scope) : left,
        Binary { Op: "or" } either => Evaluate(either.Left, scope) is var left && Values.IsTrue(left) ? left : Evaluate(either.Right, scope),
        Binary binary => Operators.Binary(binary.Op, Evaluate(binary.Left, scope), Evaluate(binary.Right, scope)),
        Comparison comparison => Compare(comparison, scope),
        Conditional conditional => Values.IsTrue(Evaluate(conditional.Test, scope)) ? Evaluate(conditional.Then, scope)
            : conditional.Else is null ? new Undefined("") : Evaluate(conditional.Else, scope),
        Attribute attribute => Members.Attribute(Evaluate(attribute.Object, scope), attribute.Key),
        Subscript { Key: Slice slice } part => Operators.Slice(
            Evaluate(part.Object, scope), Optional(slice.Start, scope), Optional(slice.Stop, scope), Optional(slice.Step, scope)),
        Subscript subscript => Members.Item(Evaluate(subscript.Object, scope), Evaluate(subscript.Key, scope)),
        Call call => Invoke(call, scope),
        Filter filter => ApplyFilter(filter, scope),
        Test test => Filters.Test(test.Name, Evaluate(test.Operand, scope), [.. test.Arguments.Positional.Select(item => Evaluate(item, scope))]) != test.Negated,
        _ => throw new InvalidOperationException($"No rule for {expr.GetType().Name}."),
    };

    private object? Optional(Expr? expr, Scope scope) => expr is null ? null : Evaluate(expr, scope);

    private DictValue Dict(DictExpr dict, Scope scope)
    {
        var result = new DictValue();
        foreach ((Expr key, Expr value) in dict.Items)
        {
            result[Evaluate(key, scope) ?? throw Fail(dict, "uses none as a key")] = Evaluate(value, scope);
        }

        return result;
    }

    private bool Compare(Comparison comparison, Scope scope)
    {
        object? left = Evaluate(comparison.First, scope);
        foreach ((string op, Expr expr) in comparison.Rest)
        {
            object? right = Evaluate(expr, scope);
            if (!Operators.Compare(op, left, right))
            {
                return false;
            }

            left = right;
        }

        return true;
    }

    private object? Invoke(Call call, Scope scope)
    {
        Callable callee = Callee(call, scope);
        (List<object?> positional, Dictionary<string, object?> named) = Evaluate(call.Arguments, scope);
        return callee(positional, named);
    }

    private Callable Callee(Call call, Scope scope) => Evaluate(call.Callee, scope) switch
    {
        Callable callable => callable,
        LoopContext { Recurse: { } recurse } => recurse,
        Undefined undefined => throw Fail(call, $"'{undefined.Name}' is undefined"),
        var value => throw Fail(call, $"TypeError: '{Values.TypeName(value)}' object is not callable"),
    };

    private (List<object?> Positional, Dictionary<string, object?> Named) Evaluate(Arguments arguments, Scope scope) => (
        [.. arguments.Positional.SelectMany(item => item is Unary { Op: "*" } spread ? Values.Items(Evaluate(spread.Operand, scope)) : [Evaluate(item, scope)])],
        arguments.Named.ToDictionary(item => item.Name, item => Evaluate(item.Value, scope)));

    private object? ApplyFilter(Filter filter, Scope scope)
    {
        (List<object?> positional, Dictionary<string, object?> named) = Evaluate(filter.Arguments, scope);
        return filters.Apply(filter.Name, Evaluate(filter.Operand!, scope), positional, named);
    }
}

/// <summary>The variable <c>loop</c>.</summary>
/// <param name="Values">Its attributes.</param>
/// <param name="Recurse">Runs the loop on other items, for recursive loops.</param>
internal sealed record LoopContext(DictValue Values, Callable? Recurse);
