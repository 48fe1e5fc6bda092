namespace Nibble.Data.Validation;

/// <summary>What a dataset is made of, counted record by record.</summary>
public sealed class DatasetStatistics
{
    /// <summary>Answers that are labels are few and short.</summary>
    private const int MostLabels = 50;

    private const int LongestLabel = 40;

    private readonly SortedDictionary<string, long> forms = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, long> turns = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, long> languages = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, long> labels = new(StringComparer.Ordinal);
    private bool freeText;

    /// <summary>Records.</summary>
    public long Records { get; private set; }

    /// <summary>Alpaca records without an input.</summary>
    public long EmptyInputs { get; private set; }

    /// <summary>Records by form: alpaca, chat, completion, text, tokenized.</summary>
    public IReadOnlyDictionary<string, long> Forms => forms;

    /// <summary>Turns of conversations by role.</summary>
    public IReadOnlyDictionary<string, long> Turns => turns;

    /// <summary>Records by guessed language.</summary>
    public IReadOnlyDictionary<string, long> Languages => languages;

    /// <summary>Records by answer, where answers are few and short enough to be labels; otherwise empty.</summary>
    public IReadOnlyDictionary<string, long> Labels => freeText || labels.Count * 2 > Records ? new Dictionary<string, long>() : labels;

    /// <summary>Words of what is asked, by white space.</summary>
    public LengthDistribution QuestionWords { get; } = new();

    /// <summary>Words of each answer, by white space.</summary>
    public LengthDistribution AnswerWords { get; } = new();

    /// <summary>Tokens of whole records; empty where no model is known.</summary>
    public LengthDistribution Tokens { get; } = new();

    /// <summary>Counts a record.</summary>
    /// <param name="record">The record.</param>
    /// <param name="tokens">How many tokens it is to the model; null where none is known.</param>
    public void Add(DatasetRecord record, int? tokens = null) => Add(record, ExampleView.Of(record), tokens);

    internal void Add(DatasetRecord record, ExampleView? view, int? tokens)
    {
        Records++;
        Count(forms, record switch
        {
            TrainingExample => "alpaca",
            ChatExample => "chat",
            CompletionExample => "completion",
            ChoiceExample => "choice",
            TextExample => "text",
            _ => "tokenized",
        });
        EmptyInputs += record is TrainingExample { Input: "" } ? 1 : 0;
        if ((record is TokenizedExample made ? made.InputIds.Length : tokens) is { } length)
        {
            Tokens.Add(length);
        }

        foreach (var message in (record as ChatExample)?.Messages ?? [])
        {
            Count(turns, (string)message!["role"]!);
        }

        if (view is null)
        {
            freeText = true;
            return;
        }

        QuestionWords.Add(Words(view.Instruction) + Words(view.Input));
        Count(languages, LanguageGuess.Of(view.Input.Length > view.Instruction.Length ? view.Input : view.Instruction));
        foreach (string answer in view.Answers ?? [])
        {
            AnswerWords.Add(Words(answer));
        }

        Label(view);
    }

    internal static int Words(ReadOnlySpan<char> text)
    {
        int words = 0;
        bool inside = false;
        foreach (char character in text)
        {
            bool letter = !char.IsWhiteSpace(character);
            words += letter && !inside ? 1 : 0;
            inside = letter;
        }

        return words;
    }

    private void Label(ExampleView view)
    {
        if (freeText)
        {
            return;
        }

        if (view.Answers is [{ } answer] && answer.Trim() is { Length: > 0 and <= LongestLabel } label)
        {
            Count(labels, label);
            freeText = labels.Count > MostLabels;
        }
        else
        {
            freeText = true;
        }
    }

    private static void Count(SortedDictionary<string, long> counts, string key) => counts[key] = counts.GetValueOrDefault(key) + 1;
}
