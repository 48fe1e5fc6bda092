using System.Text.RegularExpressions;
using Microsoft.Extensions.AI;

namespace Nibble.Evaluation.Judging;

/// <summary>A model that is asked for verdicts, about several examples at once.</summary>
internal sealed class Judge(IChatClient client, int concurrency)
{
    private static readonly ChatOptions Repeatable = new() { Temperature = 0 };

    /// <summary>Asks for one verdict.</summary>
    /// <param name="question">All that the model is given.</param>
    /// <param name="verdict">
    /// What the last line of its reply must be, which may come in bold or the like; its group is the verdict. Where the reply is that line
    /// alone, a word before the verdict may be missing: group <c>word</c>.
    /// </param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>Null where the reply is no verdict.</returns>
    public async Task<string?> AskAsync(string question, Regex verdict, CancellationToken cancellation)
    {
        ChatResponse response = await client.GetResponseAsync([new ChatMessage(ChatRole.User, question)], Repeatable, cancellation).ConfigureAwait(false);
        string[] lines = response.Text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        Match match = verdict.Match(lines.LastOrDefault() ?? "");
        return match.Success && (lines.Length == 1 || match.Groups["word"].Success) ? match.Groups["verdict"].Value : null;
    }

    /// <summary>What is judged, and what is accepted, marked off from what the judge is told.</summary>
    /// <param name="example">Prompt and references.</param>
    /// <param name="answers">Answers, each with the name of its tag.</param>
    public static string Material(EvaluationExample example, params IEnumerable<(string Tag, string Text)> answers)
    {
        (string, string)[] parts =
            [("request", example.Prompt), .. example.References.Select(reference => ("accepted_answer", reference)), .. answers];
        return string.Join('\n', parts.Select(((string Tag, string Text) part) => $"<{part.Tag}>\n{part.Text}\n</{part.Tag}>"));
    }

    /// <summary>Judges so many examples, as many at once as allowed; the first failure ends the work.</summary>
    /// <returns>The verdicts in order.</returns>
    public async Task<T[]> AllAsync<T>(int count, Func<int, CancellationToken, Task<T>> judge, CancellationToken cancellation)
    {
        var verdicts = new T[count];
        var options = new ParallelOptions { MaxDegreeOfParallelism = concurrency, CancellationToken = cancellation };
        await Parallel.ForAsync(0, count, options, async (i, stopped) => verdicts[i] = await judge(i, stopped).ConfigureAwait(false)).ConfigureAwait(false);
        return verdicts;
    }
}
