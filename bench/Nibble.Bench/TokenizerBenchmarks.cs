using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using Microsoft.ML.Tokenizers;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;

namespace Nibble.Bench;

/// <summary>Running text (War and Peace, 3.2 MB) to ids by real vocabularies, against the class of Microsoft.ML.Tokenizers that reads the same one.</summary>
[Config(typeof(Columns))]
public class TokenizerBenchmarks
{
    private const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    private static int bytes;

    private string folder = null!;
    private string text = null!;
    private string[] halves = null!;
    private Tokenizer microsoft = null!;
    private HfTokenizer warm = null!;
    private HfTokenizer cold = null!;

    [Params("gpt2", "llama2", "llama3", "pythia", "qwen2")]
    public string Vocabulary { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        string vectors = Path.Combine(SharedRoot.Path ?? throw new DirectoryNotFoundException(SharedRoot.Absent), "vectors", "tokenizers");
        folder = Path.Combine(vectors, Vocabulary);
        text = File.ReadAllText(Path.Combine(vectors, "throughput", "war-and-peace.txt"));
        bytes = Encoding.UTF8.GetByteCount(text);
        int middle = text.IndexOf("\n\n", text.Length / 2, StringComparison.Ordinal);
        halves = [text[..middle], text[middle..]];
        microsoft = Vocabulary switch
        {
            "llama2" => LlamaTokenizer.Create(File.OpenRead(Path.Combine(folder, "tokenizer.model"))),
            "llama3" => TiktokenTokenizer.Create(Path.Combine(folder, "tokenizer.model"), Cut(Llama3Pattern(@"\p{N}{1,3}")), normalizer: null),
            "qwen2" => TiktokenTokenizer.Create(Path.Combine(folder, "qwen.tiktoken"), Cut(Llama3Pattern(@"\p{N}")), normalizer: null),
            _ => ByteLevel(Path.Combine(folder, "tokenizer.json")),
        };
        warm = HfTokenizer.FromPretrained(folder);
    }

    [IterationSetup]
    public void Forget() => cold = HfTokenizer.FromPretrained(folder);

    [Benchmark(Baseline = true)]
    public int Microsoft() => microsoft.EncodeToIds(text).Count;

    [Benchmark]
    public int Nibble() => warm.Encode(text, addSpecialTokens: false).Length;

    /// <summary>With nothing remembered from texts before.</summary>
    [Benchmark]
    public int NibbleFirstPass() => cold.Encode(text, addSpecialTokens: false).Length;

    /// <summary>The text in two halves at a blank line, each on a thread of its own, as many examples are encoded.</summary>
    [Benchmark]
    public int NibbleOnTwoThreads() => halves.AsParallel().WithDegreeOfParallelism(2).Sum(half => warm.Encode(half, addSpecialTokens: false).Length);

    private static string Llama3Pattern(string number) =>
        $@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private static RegexPreTokenizer Cut(string pattern) => new(new Regex(pattern, RegexOptions.Compiled), specialTokens: null);

    private static BpeTokenizer ByteLevel(string path)
    {
        JsonNode model = JsonNode.Parse(File.ReadAllText(path))!["model"]!;
        return BpeTokenizer.Create(new BpeOptions(model["vocab"]!.AsObject().Select(token => KeyValuePair.Create(token.Key, (int)token.Value!)))
        {
            Merges = model["merges"]!.AsArray().Select(merge => merge is JsonArray pair ? $"{pair[0]} {pair[1]}" : (string)merge!),
            ByteLevel = true,
            PreTokenizer = Cut(Gpt2Pattern),
        });
    }

    private sealed class Columns : ManualConfig
    {
        public Columns() => AddColumn(new Throughput());
    }

    private sealed class Throughput : IColumn
    {
        public string Id => nameof(Throughput);

        public string ColumnName => "MB/s";

        public string Legend => "Megabytes of UTF-8 a second, by the mean";

        public bool AlwaysShow => true;

        public ColumnCategory Category => ColumnCategory.Statistics;

        public int PriorityInCategory => 0;

        public bool IsNumeric => true;

        public UnitType UnitType => UnitType.Dimensionless;

        public bool IsAvailable(Summary summary) => true;

        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase) =>
            summary[benchmarkCase]?.ResultStatistics is { } statistics ? (bytes / statistics.Mean * 1e3).ToString("F1", CultureInfo.InvariantCulture) : "NA";

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);
    }
}
