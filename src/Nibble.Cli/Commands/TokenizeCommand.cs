using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble tokenize</c></summary>
internal static class TokenizeCommand
{
    public static Command Create()
    {
        var model = CommonOptions.Model();
        var text = new Option<string?>("--text") { Description = "A text." };
        var file = new Option<string?>("--file") { Description = "Records {\"text\"}, one a line; each is answered with {\"ids\"}.", HelpName = "FILE" };
        var decode = new Option<bool>("--decode") { Description = "Turn ids back: --text 1,2,3 or records {\"ids\"}, answered with {\"text\"}." };
        var add = new Option<bool>("--add-special-tokens") { Description = "Add the tokens that the model's template puts around a text." };
        var skip = new Option<bool>("--skip-special-tokens") { Description = "With --decode: leave special tokens out." };
        var json = CommonOptions.Json();
        var command = new Command("tokenize", "Turn text into token ids, or back.") { model, text, file, decode, add, skip, json };
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(text) is null == result.GetValue(file) is null)
            {
                throw new UsageException("give one of --text and --file.");
            }

            HfTokenizer tokenizer = CommonOptions.Tokenizer(result.GetValue(model)!);
            bool special = result.GetValue(add);
            bool without = result.GetValue(skip);
            if (result.GetValue(file) is { } path)
            {
                Lines(tokenizer, path, result.GetValue(decode), result.GetValue(decode) ? without : special, cancellation);
                return Task.FromResult(0);
            }

            string given = result.GetValue(text)!;
            if (result.GetValue(decode))
            {
                string decoded = tokenizer.Decode(given.Split(',').Select(id => int.TryParse(id, out int value) ? value : throw new UsageException($"'{id}' is not a token id.")), without);
                Console.WriteLine(result.GetValue(json) ? JsonSerializer.Serialize(new { text = decoded }) : decoded);
                return Task.FromResult(0);
            }

            int[] ids = tokenizer.Encode(given, special);
            Console.WriteLine(result.GetValue(json) ? JsonSerializer.Serialize(new { ids }) : string.Join(',', ids));
            return Task.FromResult(0);
        });
        return command;
    }

    private static void Lines(HfTokenizer tokenizer, string path, bool decode, bool special, CancellationToken cancellation)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"{path} does not exist.", path);
        }

        int number = 0;
        using var output = new StreamWriter(Console.OpenStandardOutput());
        foreach (string line in File.ReadLines(path))
        {
            cancellation.ThrowIfCancellationRequested();
            number++;
            if (string.IsNullOrWhiteSpace(line))
            {
                continue;
            }

            try
            {
                JsonNode? record = JsonNode.Parse(line);
                output.WriteLine(decode
                    ? JsonSerializer.Serialize(new { text = tokenizer.Decode(record?["ids"].Deserialize<int[]>() ?? throw new JsonException("there are no ids"), special) })
                    : JsonSerializer.Serialize(new { ids = tokenizer.Encode((string?)record?["text"] ?? throw new JsonException("there is no text"), special) }));
            }
            catch (Exception exception) when (exception is JsonException or InvalidOperationException)
            {
                throw new InvalidDataException($"{path}:{number}: expected {{\"{(decode ? "ids" : "text")}\"}} ({exception.Message.TrimEnd('.')}).", exception);
            }
        }
    }
}
