using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.Extensions.AI;
using Nibble.Data.Files;
using Nibble.Data.Validation;

namespace Nibble.Data.Augmentation;

/// <summary>Makes more examples of those there are, by asking a model.</summary>
/// <remarks>Give it a <see cref="ResilientChatClient"/>, which retries, remembers and counts.</remarks>
public sealed partial class DataAugmenter
{
    private const int Paraphrases = 3;

    private static readonly ChatOptions Creative = new() { Temperature = 0.7f };

    private readonly IChatClient client;

    /// <summary>Asks this model.</summary>
    public DataAugmenter(IChatClient client)
    {
        ArgumentNullException.ThrowIfNull(client);
        this.client = client;
    }

    /// <summary>The example with its instruction in other words, up to three times; input and answer stay.</summary>
    /// <returns>Fewer than three where the model repeats itself or the original.</returns>
    public async Task<IReadOnlyList<TrainingExample>> ParaphraseAsync(TrainingExample example, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(example);
        ChatResponse response = await client.GetResponseAsync(
            [new ChatMessage(ChatRole.User, $"Paraphrase the following instruction in {Paraphrases} ways that ask for exactly the same. Write one paraphrase a line and nothing else.\n\n{example.Instruction}")],
            Creative,
            cancellation).ConfigureAwait(false);
        var known = new HashSet<string>(StringComparer.OrdinalIgnoreCase) { example.Instruction.Trim() };
        return [.. Lines(response.Text).Where(known.Add).Take(Paraphrases).Select(text => example with { Instruction = text })];
    }

    /// <summary>New examples of the same task.</summary>
    /// <param name="example">The original.</param>
    /// <param name="count">How many to ask for.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <returns>At most so many: duplicates and near-copies of the original are dropped.</returns>
    /// <exception cref="InvalidDataException">The model's reply is no list of examples, and neither is its second.</exception>
    public async Task<IReadOnlyList<TrainingExample>> GenerateVariationsAsync(TrainingExample example, int count, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(example);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        List<ChatMessage> messages =
        [
            new ChatMessage(ChatRole.User, $"""
                Write {count} new examples of the same kind of task as the one below, each with other content and a correct answer.
                Reply with a JSON list of {count} objects with the string fields "instruction", "input" (may be empty) and "output", and nothing else.

                {DatasetFormatter.Format(example).ToJsonString(JsonText.Writing)}
                """),
        ];
        string reply = (await client.GetResponseAsync(messages, Creative, cancellation).ConfigureAwait(false)).Text;
        (List<TrainingExample>? examples, string? problem) = Parse(reply, example.System);
        if (examples is null)
        {
            messages.Add(new ChatMessage(ChatRole.Assistant, reply));
            messages.Add(new ChatMessage(ChatRole.User, $"That reply cannot be used: it {problem}. Reply with the corrected JSON list and nothing else."));
            (examples, problem) = Parse((await client.GetResponseAsync(messages, Creative, cancellation).ConfigureAwait(false)).Text, example.System);
        }

        return examples is null
            ? throw new InvalidDataException($"The model's reply {problem}, also when asked to repair it.")
            : [.. Distinct(example, examples).Take(count)];
    }

    /// <summary>Lines without their numbering; where some are numbered, the others are talk.</summary>
    private static IEnumerable<string> Lines(string reply)
    {
        string[] lines = [.. reply.Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0)];
        string[] numbered = [.. lines.Where(line => Numbering().IsMatch(line))];
        return (numbered.Length > 0 ? numbered : lines).Select(line => Unquoted(Numbering().Replace(line, "").Trim())).Where(line => line.Length > 0);
    }

    private static string Unquoted(string line) =>
        line is ['"', .., '"'] or ['\u201C', .., '\u201D'] && line.Length > 1 ? line[1..^1].Trim() : line;

    /// <summary>The examples of a reply, or what is wrong with it. Talk and fences around the list are forgiven.</summary>
    private static (List<TrainingExample>? Examples, string? Problem) Parse(string reply, string? system)
    {
        (int start, int end) = (reply.IndexOf('['), reply.LastIndexOf(']'));
        if (start < 0 || end < start)
        {
            return (null, "has no JSON list");
        }

        try
        {
            var examples = new List<TrainingExample>();
            foreach (JsonNode? item in (JsonArray)JsonText.Parse(reply[start..(end + 1)])!)
            {
                var record = (TrainingExample)RecordParser.Parse(item as JsonObject ?? throw new FormatException("is not a JSON object"), DatasetFormat.Alpaca);
                examples.Add(string.IsNullOrWhiteSpace(record.Instruction) || string.IsNullOrWhiteSpace(record.Output)
                    ? throw new FormatException("has an empty instruction or output")
                    : record with { System = system });
            }

            return (examples, null);
        }
        catch (JsonException exception)
        {
            return (null, JsonText.Reason(exception));
        }
        catch (Exception exception) when (exception is FormatException or InvalidOperationException)
        {
            return (null, $"has an item that {exception.Message}");
        }
    }

    private static IEnumerable<TrainingExample> Distinct(TrainingExample original, IEnumerable<TrainingExample> examples)
    {
        var known = new HashSet<string>(StringComparer.OrdinalIgnoreCase) { Question(original) };
        ulong[] signature = new ulong[MinHash.Bands];
        ulong[] other = new ulong[MinHash.Bands];
        bool signed = ExampleView.Of(original)!.TrySign(signature);
        return examples.Where(example => known.Add(Question(example))
            && !(signed && ExampleView.Of(example)!.TrySign(other) && MinHash.Similarity(signature, other) >= MinHash.Near));
    }

    private static string Question(TrainingExample example) => $"{example.Instruction.Trim()}\n{example.Input.Trim()}";

    [GeneratedRegex(@"^(?:\(?\d{1,2}[.):]|[-*\u2022])\s+")]
    private static partial Regex Numbering();
}
