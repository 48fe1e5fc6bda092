using System.Globalization;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>Turns tokens into the tree of a template, with Jinja's precedence of operators.</summary>
internal sealed class Parser
{
    private const int DeepestNesting = 100;

    private readonly List<Token> tokens;
    private int position;
    private int depth;

    private Parser(List<Token> tokens) => this.tokens = tokens;

    public static IReadOnlyList<Node> Parse(string source)
    {
        var parser = new Parser(Lexer.Read(source));
        List<Node> body = parser.Body();
        return parser.Current.Kind == TokenKind.End ? body : throw parser.Error("has an end tag without its beginning");
    }

    private Token Current => tokens[position];

    private ChatTemplateException Error(string problem) => new($"line {Current.Line}: the template {problem}");

    private bool IsOperator(string text) => Current.Kind == TokenKind.Operator && Current.Text == text;

    private bool IsName(string text) => Current.Kind == TokenKind.Name && Current.Text == text;

    private bool Take(string text)
    {
        if (IsOperator(text) || IsName(text))
        {
            position++;
            return true;
        }

        return false;
    }

    private void Expect(string text)
    {
        if (!Take(text))
        {
            throw Error($"has '{Describe()}' where '{text}' is expected");
        }
    }

    private string Describe() => Current.Kind is TokenKind.Name or TokenKind.Operator or TokenKind.String ? Current.Text : Current.Kind.ToString();

    private string TakeName()
    {
        if (Current.Kind != TokenKind.Name)
        {
            throw Error($"has '{Describe()}' where a name is expected");
        }

        return tokens[position++].Text;
    }

    private T Nested<T>(Func<T> parse)
    {
        if (++depth > DeepestNesting)
        {
            throw Error($"nests deeper than {DeepestNesting} levels");
        }

        T result = parse();
        depth--;
        return result;
    }

    // ---- statements

    /// <summary>Nodes up to a tag that only its block knows: an end tag, an else.</summary>
    private List<Node> Body(params string[] ends) => Nested(() =>
    {
        var nodes = new List<Node>();
        while (true)
        {
            Token token = Current;
            switch (token.Kind)
            {
                case TokenKind.Text:
                    position++;
                    nodes.Add(new Output(new Literal(token.Text, token.Line), token.Line));
                    break;
                case TokenKind.PrintBegin:
                    position++;
                    nodes.Add(new Output(TupleOrExpression(), token.Line));
                    ExpectKind(TokenKind.PrintEnd);
                    break;
                case TokenKind.BlockBegin when !ends.Contains(tokens[position + 1].Text) && !tokens[position + 1].Text.StartsWith("end", StringComparison.Ordinal):
                    position++;
                    nodes.Add(Statement());
                    break;
                default:
                    return nodes;
            }
        }
    });

    private void ExpectKind(TokenKind kind)
    {
        if (Current.Kind != kind)
        {
            throw Error($"has '{Describe()}' where its tag should end");
        }

        position++;
    }

    private void EndTag(string name)
    {
        ExpectKind(TokenKind.BlockBegin);
        Expect(name);
        ExpectKind(TokenKind.BlockEnd);
    }

    private List<Node> BlockBody(string end, params string[] others)
    {
        ExpectKind(TokenKind.BlockEnd);
        List<Node> body = Body([end, .. others]);
        if (Current.Kind != TokenKind.BlockBegin)
        {
            throw Error($"has no '{end}'");
        }

        return body;
    }

    private Node Statement()
    {
        int line = Current.Line;
        string keyword = TakeName();
        switch (keyword)
        {
            case "if":
                return IfStatement(line);
            case "for":
                return ForStatement(line);
            case "set":
                return SetStatement(line);
            case "macro":
                return Macro(TakeName(), "endmacro", line);
            case "call":
                return CallStatement(line);
            case "filter":
                Filter filter = FilterChain(null);
                List<Node> filtered = BlockBody("endfilter");
                EndTag("endfilter");
                return new FilterBlock(filter, filtered, line);
            case "with":
                return WithStatement(line);
            case "generation":
                List<Node> generated = BlockBody("endgeneration");
                EndTag("endgeneration");
                return new Generation(generated, line);
            case "break" or "continue":
                ExpectKind(TokenKind.BlockEnd);
                return new LoopControl(keyword == "break", line);
            default:
                throw Error($"uses '{keyword}', which is not supported");
        }
    }

    private If IfStatement(int line)
    {
        var branches = new List<(Expr, IReadOnlyList<Node>)> { (Expression(), BlockBody("endif", "elif", "else")) };
        while (tokens[position + 1].Text == "elif")
        {
            position += 2;
            branches.Add((Expression(), BlockBody("endif", "elif", "else")));
        }

        List<Node> otherwise = ElseBody("endif");
        EndTag("endif");
        return new If(branches, otherwise, line);
    }

    private List<Node> ElseBody(string end)
    {
        if (tokens[position + 1].Text != "else")
        {
            return [];
        }

        position += 2;
        return BlockBody(end);
    }

    private For ForStatement(int line)
    {
        Expr target = Target();
        Expect("in");
        Expr items = TupleOrExpression(allowConditional: false);
        Expr? filter = Take("if") ? Expression() : null;
        bool recursive = Take("recursive");
        List<Node> body = BlockBody("endfor", "else");
        List<Node> otherwise = ElseBody("endfor");
        EndTag("endfor");
        return new For(target, items, filter, body, otherwise, recursive, line);
    }

    /// <summary>Names to assign to: one, several, or an attribute of a namespace.</summary>
    private Expr Target()
    {
        int line = Current.Line;
        var targets = new List<Expr>();
        do
        {
            if (Take("("))
            {
                targets.Add(Target());
                Expect(")");
                continue;
            }

            Expr name = new Name(TakeName(), line);
            while (Take("."))
            {
                name = new Attribute(name, TakeName(), line);
            }

            targets.Add(name);
        }
        while (Take(",") && (Current.Kind == TokenKind.Name || IsOperator("(")));
        return targets.Count == 1 ? targets[0] : new ListExpr(targets, true, line);
    }

    private Node SetStatement(int line)
    {
        Expr target = Target();
        if (Take("="))
        {
            Expr value = TupleOrExpression();
            ExpectKind(TokenKind.BlockEnd);
            return new Set(target, value, line);
        }

        Filter? filter = Take("|") ? FilterChain(null) : null;
        List<Node> body = BlockBody("endset");
        EndTag("endset");
        return new SetBlock(target, filter, body, line);
    }

    private MacroDefinition Macro(string name, string end, int line)
    {
        Expect("(");
        List<(string, Expr?)> parameters = Parameters();
        List<Node> body = BlockBody(end);
        EndTag(end);
        return new MacroDefinition(name, parameters, body, line);
    }

    private List<(string Name, Expr? Default)> Parameters()
    {
        var parameters = new List<(string, Expr?)>();
        while (!Take(")"))
        {
            if (parameters.Count > 0)
            {
                Expect(",");
            }

            parameters.Add((TakeName(), Take("=") ? Expression() : null));
        }

        return parameters;
    }

    private CallBlock CallStatement(int line)
    {
        List<(string, Expr?)> parameters = Take("(") ? Parameters() : [];
        Call call = Expression() as Call ?? throw Error("has a call block that calls nothing");
        List<Node> body = BlockBody("endcall");
        EndTag("endcall");
        return new CallBlock(call, new MacroDefinition("caller", parameters, body, line), line);
    }

    private With WithStatement(int line)
    {
        var bindings = new List<(Expr, Expr)>();
        while (Current.Kind != TokenKind.BlockEnd)
        {
            if (bindings.Count > 0)
            {
                Expect(",");
            }

            Expr target = new Name(TakeName(), line);
            Expect("=");
            bindings.Add((target, Expression()));
        }

        List<Node> body = BlockBody("endwith");
        EndTag("endwith");
        return new With(bindings, body, line);
    }

    // ---- expressions, from the loosest binding to the tightest

    private Expr TupleOrExpression(bool allowConditional = true)
    {
        int line = Current.Line;
        Expr first = allowConditional ? Expression() : Or();
        if (!IsOperator(","))
        {
            return first;
        }

        var items = new List<Expr> { first };
        while (Take(",") && Current.Kind is not (TokenKind.PrintEnd or TokenKind.BlockEnd) && !IsOperator(")"))
        {
            items.Add(allowConditional ? Expression() : Or());
        }

        return new ListExpr(items, true, line);
    }

    private Expr Expression() => Nested(() =>
    {
        Expr value = Or();
        while (IsName("if"))
        {
            int line = Current.Line;
            position++;
            Expr test = Or();
            value = new Conditional(test, value, Take("else") ? Expression() : null, line);
        }

        return value;
    });

    private Expr Or() => Chain(And, "or");

    private Expr And() => Chain(Not, "and");

    private Expr Not()
    {
        int line = Current.Line;
        return Take("not") ? Nested<Expr>(() => new Unary("not", Not(), line)) : Compare();
    }

    private Expr Compare()
    {
        int line = Current.Line;
        Expr first = Sum();
        var rest = new List<(string, Expr)>();
        while (true)
        {
            if (Current.Kind == TokenKind.Operator && Current.Text is "==" or "!=" or "<" or "<=" or ">" or ">=")
            {
                string op = tokens[position++].Text;
                rest.Add((op, Sum()));
            }
            else if (Take("in"))
            {
                rest.Add(("in", Sum()));
            }
            else if (IsName("not") && tokens[position + 1] is { Kind: TokenKind.Name, Text: "in" })
            {
                position += 2;
                rest.Add(("not in", Sum()));
            }
            else
            {
                return rest.Count == 0 ? first : new Comparison(first, rest, line);
            }
        }
    }

    private Expr Sum() => Chain(Concatenation, "+", "-");

    private Expr Concatenation() => Chain(Product, "~");

    private Expr Product() => Chain(Power, "*", "/", "//", "%");

    private Expr Power() => Chain(UnaryExpression, "**");

    private Expr Chain(Func<Expr> operand, params string[] operators)
    {
        Expr left = operand();
        while ((Current.Kind == TokenKind.Operator || Current.Text is "or" or "and") && Current.Kind is TokenKind.Operator or TokenKind.Name && operators.Contains(Current.Text))
        {
            Token op = tokens[position++];
            left = new Binary(op.Text, left, operand(), op.Line);
        }

        return left;
    }

    private Expr UnaryExpression() => UnaryExpression(withFilter: true);

    private Expr UnaryExpression(bool withFilter)
    {
        int line = Current.Line;
        Expr value = IsOperator("-") || IsOperator("+")
            ? Nested<Expr>(() => new Unary(tokens[position++].Text, UnaryExpression(withFilter: false), line))
            : Primary();
        value = Postfix(value);
        return withFilter ? FiltersAndTests(value) : value;
    }

    private Expr Primary()
    {
        Token token = Current;
        switch (token.Kind)
        {
            case TokenKind.String:
                string text = "";
                while (Current.Kind == TokenKind.String)
                {
                    text += tokens[position++].Text; // Neighbouring strings are one.
                }

                return new Literal(text, token.Line);
            case TokenKind.Integer:
                position++;
                return long.TryParse(token.Text, CultureInfo.InvariantCulture, out long integer) ? new Literal(integer, token.Line) : throw Error("has a number that is too large");
            case TokenKind.Float:
                position++;
                return new Literal(double.Parse(token.Text, CultureInfo.InvariantCulture), token.Line);
            case TokenKind.Name:
                position++;
                return token.Text switch
                {
                    "true" or "True" => new Literal(true, token.Line),
                    "false" or "False" => new Literal(false, token.Line),
                    "none" or "None" => new Literal(null, token.Line),
                    _ => new Name(token.Text, token.Line),
                };
            case TokenKind.Operator when token.Text == "(":
                position++;
                if (Take(")"))
                {
                    return new ListExpr([], true, token.Line);
                }

                Expr inner = TupleOrExpression();
                Expect(")");
                return inner;
            case TokenKind.Operator when token.Text == "[":
                position++;
                return new ListExpr(Items("]", Expression), false, token.Line);
            case TokenKind.Operator when token.Text == "{":
                position++;
                return new DictExpr(Items("}", () =>
                {
                    Expr key = Expression();
                    Expect(":");
                    return (key, Expression());
                }), token.Line);
            default:
                throw Error($"has '{Describe()}' where a value is expected");
        }
    }

    private List<T> Items<T>(string end, Func<T> item)
    {
        var items = new List<T>();
        while (!Take(end))
        {
            if (items.Count > 0)
            {
                Expect(",");
                if (Take(end))
                {
                    break;
                }
            }

            items.Add(item());
        }

        return items;
    }

    private Expr Postfix(Expr value)
    {
        while (true)
        {
            int line = Current.Line;
            if (Take("."))
            {
                value = Current.Kind == TokenKind.Integer
                    ? new Subscript(value, Primary(), line)
                    : new Attribute(value, TakeName(), line);
            }
            else if (Take("["))
            {
                value = new Subscript(value, SubscriptKey(), line);
                Expect("]");
            }
            else if (IsOperator("("))
            {
                value = new Call(value, CallArguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    private Expr SubscriptKey()
    {
        int line = Current.Line;
        Expr? start = IsOperator(":") ? null : Expression();
        if (!Take(":"))
        {
            return start!;
        }

        Expr? stop = IsOperator(":") || IsOperator("]") ? null : Expression();
        Expr? step = Take(":") && !IsOperator("]") ? Expression() : null;
        return new Slice(start, stop, step, line);
    }

    private Arguments CallArguments()
    {
        Expect("(");
        var positional = new List<Expr>();
        var named = new List<(string, Expr)>();
        foreach ((string? name, Expr value) in Items(")", Argument))
        {
            if (name is null)
            {
                positional.Add(value);
            }
            else
            {
                named.Add((name, value));
            }
        }

        return new Arguments(positional, named);
    }

    private (string? Name, Expr Value) Argument()
    {
        if (Current.Kind == TokenKind.Name && tokens[position + 1] is { Kind: TokenKind.Operator, Text: "=" })
        {
            string name = TakeName();
            position++;
            return (name, Expression());
        }

        int line = Current.Line;
        return (null, Take("*") ? new Unary("*", Expression(), line) : Expression());
    }

    private Expr FiltersAndTests(Expr value)
    {
        while (true)
        {
            int line = Current.Line;
            if (Take("|"))
            {
                value = OneFilter(value);
            }
            else if (Take("is"))
            {
                bool negated = Take("not");
                string name = TakeName();
                Arguments arguments = IsOperator("(") ? CallArguments()
                    : StartsTestArgument() ? new Arguments([Postfix(Primary())], [])
                    : Arguments.None;
                value = new Test(value, name, arguments, negated, line);
            }
            else if (IsOperator("("))
            {
                value = new Call(value, CallArguments(), line);
            }
            else
            {
                return value;
            }
        }
    }

    private bool StartsTestArgument() => Current.Kind is TokenKind.String or TokenKind.Integer or TokenKind.Float
        || (Current.Kind == TokenKind.Name && Current.Text is not ("else" or "or" or "and" or "if" or "is" or "in" or "not" or "recursive"))
        || IsOperator("[") || IsOperator("{");

    private Filter OneFilter(Expr? operand)
    {
        int line = Current.Line;
        string name = TakeName();
        return new Filter(operand, name, IsOperator("(") ? CallArguments() : Arguments.None, line);
    }

    private Filter FilterChain(Expr? operand)
    {
        Filter filter = OneFilter(operand);
        while (Take("|"))
        {
            filter = OneFilter(filter);
        }

        return filter;
    }
}
