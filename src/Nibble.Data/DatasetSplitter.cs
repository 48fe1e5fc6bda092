using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Nibble.Data.Files;

namespace Nibble.Data;

/// <summary>The parts that a dataset is divided into.</summary>
public enum DatasetPart
{
    /// <summary>What is trained on.</summary>
    Train,

    /// <summary>What decides during training, such as which checkpoint is best.</summary>
    Val,

    /// <summary>What is only looked at in the end.</summary>
    Test,
}

/// <summary>What decides where an example goes.</summary>
public enum SplitMethod
{
    /// <summary>A hash of the example: the same examples always go the same way, whatever is added to the data.</summary>
    Hash,

    /// <summary>A seeded shuffle: parts have exactly their shares, but added data moves old examples.</summary>
    Shuffle,
}

/// <summary>Divides examples into parts for training, validation and test; the same seed and data, the same parts.</summary>
public sealed class DatasetSplitter
{
    private readonly double train;
    private readonly double val;
    private readonly double test;

    /// <summary>The share below which an example is not trained on; above all where nothing is, whatever rounding says.</summary>
    private readonly double held;

    private readonly ulong seed;

    /// <summary>Divides by shares of one.</summary>
    /// <param name="train">The share of training.</param>
    /// <param name="val">The share of validation.</param>
    /// <param name="test">The share of test.</param>
    /// <param name="seed">Another seed, another division.</param>
    /// <exception cref="ArgumentException">A share is negative, or their sum is not 1.</exception>
    public DatasetSplitter(double train = 0.8, double val = 0.1, double test = 0.1, ulong seed = 42)
    {
        if (!(train >= 0 && val >= 0 && test >= 0 && Math.Abs(train + val + test - 1) < 1e-9))
        {
            throw new ArgumentException(FormattableString.Invariant($"The shares of train, val and test are {train}, {val} and {test}; none may be negative, and their sum must be 1."));
        }

        (this.train, this.val, this.test, this.seed) = (train, val, test, seed);
        held = train > 0 ? val + test : double.PositiveInfinity;
    }

    /// <summary>What decides where an example goes.</summary>
    public SplitMethod Method { get; init; }

    /// <summary>Examples that agree in this field stay together; dots lead into nested values. Null: each stands for itself.</summary>
    public string? GroupBy { get; init; }

    /// <summary>Each value of this field is divided by the exact shares on its own; a group counts as its first example does.</summary>
    /// <remarks>With <see cref="SplitMethod.Hash"/>, adding data moves an old example only where it stands at the edge of a part.</remarks>
    public string? StratifyBy { get; init; }

    private bool Exact => Method == SplitMethod.Shuffle || StratifyBy is not null;

    /// <summary>Whether an example belongs to the evaluation side, of two.</summary>
    /// <param name="content">What identifies it.</param>
    /// <param name="evalRatio">The share of that side, 0 to 1.</param>
    /// <param name="seed">Another seed, another division.</param>
    public static bool IsEvaluation(string content, double evalRatio, ulong seed) => Rank(content, seed) < evalRatio;

    /// <summary>The parts of records in memory, each in its old order.</summary>
    /// <exception cref="FormatException">A record lacks the field of <see cref="GroupBy"/> or <see cref="StratifyBy"/>.</exception>
    public (IReadOnlyList<T> Train, IReadOnlyList<T> Val, IReadOnlyList<T> Test) Split<T>(IReadOnlyList<T> records)
        where T : DatasetRecord
    {
        ArgumentNullException.ThrowIfNull(records);
        IEnumerable<Example> Examples() => records.Select((record, index) => Describe(record, DatasetFormatter.Format(record), index));
        Func<Example, DatasetPart> plan = Plan(Examples);
        ILookup<DatasetPart, T> parts = records.Zip(Examples()).ToLookup(pair => plan(pair.Second), pair => pair.First);
        return ([.. parts[DatasetPart.Train]], [.. parts[DatasetPart.Val]], [.. parts[DatasetPart.Test]]);
    }

    /// <summary>Writes the parts of a file as train.jsonl, val.jsonl and test.jsonl, every line with all its fields; reads it once or, for exact shares, twice.</summary>
    /// <param name="path">The file, larger than memory if need be.</param>
    /// <param name="folder">Receives the parts; a part without a share is not written.</param>
    /// <param name="options">How the file is read.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <returns>How many records each written part has.</returns>
    /// <exception cref="InvalidDataException">A record is malformed, or lacks a field that is asked for.</exception>
    public IReadOnlyDictionary<DatasetPart, long> SplitFile(string path, string folder, DatasetReadOptions options, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        DatasetReadOptions silent = options.OnBadLine is null ? options : options with { OnBadLine = _ => { } };
        Func<Example, DatasetPart> plan = Plan(() => Examples(silent).Select(item => item.Example));
        var counts = new SortedDictionary<DatasetPart, long>();
        var writers = new Dictionary<DatasetPart, StreamWriter>();
        try
        {
            foreach ((DatasetPart part, double share) in new[] { (DatasetPart.Train, train), (DatasetPart.Val, val), (DatasetPart.Test, test) })
            {
                if (share > 0)
                {
                    counts[part] = 0;
                    writers[part] = JsonLines.Create(Path.Combine(folder, $"{part.ToString().ToLowerInvariant()}.jsonl"));
                }
            }

            foreach ((DatasetLine line, Example example) in Examples(options))
            {
                cancellation.ThrowIfCancellationRequested();
                DatasetPart part = plan(example);
                counts[part]++;
                writers[part].WriteLine(line.Fields.ToJsonString(JsonText.Writing));
            }

            return counts;
        }
        finally
        {
            foreach (StreamWriter writer in writers.Values)
            {
                writer.Dispose();
            }
        }

        IEnumerable<(DatasetLine Line, Example Example)> Examples(DatasetReadOptions reading) =>
            DatasetReader.ReadLines(path, reading).Select((line, index) => (line, Located(line, index)));

        Example Located(DatasetLine line, int index)
        {
            try
            {
                return Describe(line.Record, line.Fields, index);
            }
            catch (FormatException exception)
            {
                throw new InvalidDataException($"{path}:{line.Line}: {exception.Message}.", exception);
            }
        }
    }

    /// <summary>The part of each example: below a rank of its stratum validation, below another test, else training.</summary>
    private Func<Example, DatasetPart> Plan(Func<IEnumerable<Example>> examples)
    {
        if (!Exact)
        {
            return example => Part(example.Rank, val, held);
        }

        var ranks = new Dictionary<string, List<double>>();
        var strata = new Dictionary<double, string>(); // Of groups, which may hold several.
        foreach (Example example in examples())
        {
            if (GroupBy is not null)
            {
                strata.TryAdd(example.Rank, example.Stratum);
            }

            string stratum = GroupBy is null ? example.Stratum : strata[example.Rank];
            if (!ranks.TryGetValue(stratum, out List<double>? list))
            {
                ranks[stratum] = list = [];
            }

            list.Add(example.Rank);
        }

        var edges = ranks.ToDictionary(item => item.Key, item => Edges(item.Value));
        return example =>
        {
            (double belowVal, double belowTest) = edges[GroupBy is null ? example.Stratum : strata[example.Rank]];
            return Part(example.Rank, belowVal, belowTest);
        };
    }

    private static DatasetPart Part(double rank, double belowVal, double belowTest) =>
        rank < belowVal ? DatasetPart.Val : rank < belowTest ? DatasetPart.Test : DatasetPart.Train;

    /// <summary>The ranks below which the exact shares lie; examples of equal rank stay together, and go where their middle lies.</summary>
    private (double Val, double Test) Edges(List<double> ranks)
    {
        ranks.Sort();
        (double belowVal, double belowTest) = (double.PositiveInfinity, double.PositiveInfinity);
        for (int start = 0, end; start < ranks.Count; start = end)
        {
            end = start + 1;
            while (end < ranks.Count && ranks[end] == ranks[start])
            {
                end++;
            }

            double middle = (start + end) / 2.0 / ranks.Count;
            belowVal = middle >= val ? Math.Min(belowVal, ranks[start]) : belowVal;
            belowTest = middle >= held ? Math.Min(belowTest, ranks[start]) : belowTest;
        }

        return (belowVal, belowTest);
    }

    private Example Describe(DatasetRecord record, JsonObject fields, int index)
    {
        string unit = GroupBy is { } group ? Value(fields, group)
            : Method == SplitMethod.Shuffle ? $"{index}"
            : DatasetFormatter.Format(record).ToJsonString(JsonText.Writing);
        return new Example(Rank(unit, seed), StratifyBy is { } field ? Value(fields, field) : "");
    }

    private static string Value(JsonObject fields, string name) => ColumnMap.Find(fields, name)?.ToString()
        ?? throw new FormatException($"has no '{name}' to divide by; it has {string.Join(", ", fields.Select(field => field.Key))}");

    /// <summary>A number from 0 to 1 that depends on the content and the seed alone.</summary>
    private static double Rank(string content, ulong seed) =>
        BitConverter.ToUInt64(SHA256.HashData(Encoding.UTF8.GetBytes($"{seed}:{content}"))) / (double)ulong.MaxValue;

    private readonly record struct Example(double Rank, string Stratum);
}
