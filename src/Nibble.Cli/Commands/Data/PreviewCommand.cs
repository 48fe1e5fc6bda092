using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using Nibble.Cli.Commands.Prompts;
using Nibble.Data;
using Nibble.Modeling.Decoder;
using Nibble.Training;
using Spectre.Console;

namespace Nibble.Cli.Commands.Data;

/// <summary><c>nibble data preview</c></summary>
internal static class PreviewCommand
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create()
    {
        var source = new DataSource();
        var model = CommonOptions.Model();
        var maxLength = ModelTokens.MaxLengthOption();
        var prompts = new PromptOptions();
        var count = new Option<int>("--count") { Description = "How many examples.", DefaultValueFactory = _ => 3 };
        var color = new Option<string>("--color") { Description = "Whether to use colours: auto, on terminals that have them.", DefaultValueFactory = _ => "auto" };
        color.AcceptOnlyFromAmong("auto", "always", "never");
        var json = CommonOptions.Json();
        var command = new Command("preview", "Show examples as a model will see them, token by token, and what of them is learned.") { model, maxLength, count, color, json };
        prompts.AddTo(command);
        source.AddTo(command);
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(count) <= 0)
            {
                throw new UsageException($"--count is {result.GetValue(count)}; it must be above 0.");
            }

            var tokens = new ModelTokens(prompts.Of(result, result.GetRequiredValue(model)), result.GetValue(maxLength));
            string path = source.File(result);
            List<Preview> previews = [];
            foreach (DatasetLine line in DatasetReader.ReadLines(path, source.Reading(result, new SkippedLines())).Take(result.GetValue(count)))
            {
                cancellation.ThrowIfCancellationRequested();
                previews.Add(Of(line.Line, tokens.Encode(path, line), tokens));
            }

            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(new { tokens.MaxLength, Examples = previews }, Json));
            }
            else
            {
                previews.ForEach(Printer(result.GetRequiredValue(color)));
            }

            return Task.FromResult(0);
        });
        return command;
    }

    private static Preview Of(int line, EncodedExample whole, ModelTokens tokens)
    {
        int kept = Math.Min(whole.InputIds.Length, tokens.MaxLength);
        var example = new EncodedExample(whole.InputIds[..kept], whole.Labels[..kept]);
        return new Preview(
            line, whole.InputIds.Length, example.Targets, [.. ExamplePiece.Of(example, tokens.Tokenizer).Zip(example.InputIds, (piece, id) => new Token(id, piece.Text, piece.Learned))]);
    }

    private static Action<Preview> Printer(string color)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = color switch { "always" => AnsiSupport.Yes, "never" => AnsiSupport.No, _ => AnsiSupport.Detect },
            ColorSystem = color == "always" ? ColorSystemSupport.Standard : ColorSystemSupport.Detect,
        });
        bool plain = !console.Profile.Capabilities.Ansi || console.Profile.Capabilities.ColorSystem == ColorSystem.NoColors;
        return preview =>
        {
            string cut = preview.Tokens.Count < preview.Length ? $", cut from {preview.Length}" : "";
            Console.WriteLine($"line {preview.Line}: {preview.Tokens.Count} tokens{cut}, {preview.Learned} learned ({(plain ? "[[between marks]]" : "green")})");
            if (plain)
            {
                Console.WriteLine(Marked(preview.Tokens));
            }
            else
            {
                Colour(console, preview.Tokens);
            }

            Console.WriteLine();
        };
    }

    /// <summary>Tokens with bars between them, and what is learned between marks.</summary>
    private static string Marked(IReadOnlyList<Token> tokens)
    {
        var text = new System.Text.StringBuilder();
        bool open = false;
        foreach (Token token in tokens)
        {
            bool opens = token.Learned && !open;
            bool closes = !token.Learned && open;
            text.Append(closes ? "]]" : "").Append(text.Length > 0 ? "|" : "").Append(opens ? "[[" : "").Append(Shown(token));
            open = token.Learned;
        }

        return text.Append(open ? "]]" : "").ToString();
    }

    /// <summary>Green is learned, grey is given; every second token is darker, so that one sees where they part.</summary>
    private static void Colour(IAnsiConsole console, IReadOnlyList<Token> tokens)
    {
        for (int i = 0; i < tokens.Count; i++)
        {
            bool dark = i % 2 == 1;
            Color background = tokens[i].Learned ? (dark ? Color.Green : Color.Lime) : dark ? Color.Grey : Color.Silver;
            console.Write(new Text(Shown(tokens[i]), new Style(Color.Black, background)));
        }

        console.WriteLine();
    }

    /// <summary>A line end as its sign, and then as what it is.</summary>
    private static string Shown(Token token) => Terminal.Visible(token.Text.Replace("\n", "\u21B5\n", StringComparison.Ordinal), lines: true);

    private sealed record Token(int Id, string Text, bool Learned);

    private sealed record Preview(int Line, int Length, int Learned, IReadOnlyList<Token> Tokens);
}
