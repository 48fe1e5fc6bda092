using System.Text.Json;
using BenchmarkDotNet.Attributes;
using Nibble.Data;
using Nibble.Data.Validation;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;

namespace Nibble.Bench;

/// <summary>
/// What becomes of a file on its way to the model (GSM8K, 7,473 records of 557 bytes), against reading it with JsonSerializer into a
/// class, line by line. Mean is the time of one byte: 10 ns are 100 MB/s.
/// </summary>
public class DatasetBenchmarks
{
    private const int Bytes = 4_166_206;

    private static readonly DatasetReadOptions Columns = new() { Map = new Dictionary<string, string> { ["prompt"] = "question", ["completion"] = "answer" } };

    private string path = null!;
    private HfTokenizer tokenizer = null!;
    private DirectoryInfo parts = null!;

    [GlobalSetup]
    public void Setup()
    {
        string shared = SharedRoot.Path ?? throw new DirectoryNotFoundException(SharedRoot.Absent);
        path = Path.Combine(shared, "data", "gsm8k", "train.jsonl");
        if (new FileInfo(path).Length != Bytes)
        {
            throw new InvalidDataException($"{path} does not have {Bytes} bytes.");
        }

        tokenizer = HfTokenizer.FromPretrained(Path.Combine(shared, "vectors", "tokenizers", "gpt2"));
        parts = Directory.CreateTempSubdirectory("nibble-bench-");
    }

    [GlobalCleanup]
    public void Cleanup() => parts.Delete(recursive: true);

    [Benchmark(Baseline = true, OperationsPerInvoke = Bytes)]
    public int Deserialize() => File.ReadLines(path).Sum(line => JsonSerializer.Deserialize<Row>(line, JsonSerializerOptions.Web)!.Answer.Length);

    [Benchmark(OperationsPerInvoke = Bytes)]
    public int Load() => DatasetReader.ReadLines(path, Columns).Sum(line => ((CompletionExample)line.Record).Completion.Length);

    [Benchmark(OperationsPerInvoke = Bytes)]
    public long LoadAndValidate() => new DataValidator(new ValidationOptions { Map = Columns.Map }).Validate(path).Records;

    [Benchmark(OperationsPerInvoke = Bytes)]
    public long LoadAndSplit() => new DatasetSplitter().SplitFile(path, parts.FullName, Columns)[DatasetPart.Train];

    [Benchmark(OperationsPerInvoke = Bytes)]
    public int LoadAndTokenize() => DatasetReader.ReadLines(path, Columns)
        .Select(line => (CompletionExample)line.Record)
        .Sum(example => tokenizer.Encode(example.Prompt + example.Completion, addSpecialTokens: true).Length);

    [Benchmark(OperationsPerInvoke = Bytes)]
    public long LoadValidateAndTokenize() => new DataValidator(new ValidationOptions
    {
        Map = Columns.Map,
        CountTokens = record => tokenizer.Encode(((CompletionExample)record).Prompt + ((CompletionExample)record).Completion, addSpecialTokens: true).Length,
        MaxLength = 2048,
    }).Validate(path).Records;

    private sealed record Row(string Question, string Answer);
}
