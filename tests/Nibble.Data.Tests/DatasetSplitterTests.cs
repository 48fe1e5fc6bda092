using Nibble.Tests;

namespace Nibble.Data.Tests;

public class DatasetSplitterTests
{
    private static readonly TrainingExample[] Thousand = [.. Enumerable.Range(0, 1000).Select(i => new TrainingExample($"question {i}", $"user {i / 7}", i % 10 == 0 ? "rare" : "common"))];

    [Fact]
    public void Splitting_by_hash_keeps_old_examples_where_they_were()
    {
        var splitter = new DatasetSplitter();
        (IReadOnlyList<TrainingExample> train, IReadOnlyList<TrainingExample> val, IReadOnlyList<TrainingExample> test) = splitter.Split(Thousand);
        Assert.Equal(1000, train.Count + val.Count + test.Count);
        Assert.InRange(val.Count, 70, 130);
        Assert.InRange(test.Count, 70, 130);

        TrainingExample[] more = [new("new", "", "1"), .. Thousand.Reverse(), new("newer", "", "2")];
        (IReadOnlyList<TrainingExample> train2, _, IReadOnlyList<TrainingExample> test2) = splitter.Split(more);
        Assert.Empty(train.Except(train2));
        Assert.Empty(test.Except(test2));
        Assert.NotEqual(val, new DatasetSplitter(seed: 43).Split(Thousand).Val);
    }

    [Fact]
    public void The_evaluation_side_of_a_run_is_the_validation_part()
    {
        string[] old = [.. Enumerable.Range(0, 1000).Select(i => $"example {i}")];
        bool[] sides = [.. old.Select(text => DatasetSplitter.IsEvaluation(text, 0.1, 42))];
        Assert.InRange(sides.Count(side => side), 70, 130);
        Assert.Equal(sides, old.Concat(["new"]).Take(1000).Select(text => DatasetSplitter.IsEvaluation(text, 0.1, 42)));
        Assert.NotEqual(sides, old.Select(text => DatasetSplitter.IsEvaluation(text, 0.1, 43)));
    }

    [Fact]
    public void A_shuffle_gives_exact_shares_and_depends_on_the_seed_alone()
    {
        (IReadOnlyList<TrainingExample> train, IReadOnlyList<TrainingExample> val, IReadOnlyList<TrainingExample> test) = Shuffle(42);
        Assert.Equal((800, 100, 100), (train.Count, val.Count, test.Count));
        Assert.Equal(val, Shuffle(42).Val);
        Assert.NotEqual(val, Shuffle(7).Val);
        Assert.Equal(val.OrderBy(example => Array.IndexOf(Thousand, example)), val);

        (IReadOnlyList<TrainingExample> Train, IReadOnlyList<TrainingExample> Val, IReadOnlyList<TrainingExample> Test) Shuffle(ulong seed) =>
            new DatasetSplitter(seed: seed) { Method = SplitMethod.Shuffle }.Split(Thousand);
    }

    [Theory]
    [InlineData(SplitMethod.Hash)]
    [InlineData(SplitMethod.Shuffle)]
    public void Groups_stay_together(SplitMethod method)
    {
        (IReadOnlyList<TrainingExample> train, IReadOnlyList<TrainingExample> val, IReadOnlyList<TrainingExample> test) =
            new DatasetSplitter { Method = method, GroupBy = "input" }.Split(Thousand);
        HashSet<string>[] users = [.. new[] { train, val, test }.Select(part => part.Select(example => example.Input).ToHashSet())];
        Assert.Equal(143, users.Sum(part => part.Count));
        Assert.InRange(test.Count, 40, 170);
    }

    [Theory]
    [InlineData(SplitMethod.Hash)]
    [InlineData(SplitMethod.Shuffle)]
    public void Every_stratum_has_the_exact_shares(SplitMethod method)
    {
        (IReadOnlyList<TrainingExample> train, IReadOnlyList<TrainingExample> val, IReadOnlyList<TrainingExample> test) =
            new DatasetSplitter(0.7, 0.2, 0.1) { Method = method, StratifyBy = "output" }.Split(Thousand);
        Assert.Equal([70, 20, 10], new[] { train, val, test }.Select(part => part.Count(example => example.Output == "rare")));
        Assert.Equal([630, 180, 90], new[] { train, val, test }.Select(part => part.Count(example => example.Output == "common")));
    }

    [Fact]
    public void Groups_that_span_strata_stay_together_too()
    {
        (IReadOnlyList<TrainingExample> train, IReadOnlyList<TrainingExample> val, IReadOnlyList<TrainingExample> test) =
            new DatasetSplitter { GroupBy = "input", StratifyBy = "output" }.Split(Thousand);
        Assert.Equal(143, new[] { train, val, test }.Sum(part => part.Select(example => example.Input).Distinct().Count()));
        Assert.InRange(test.Count, 70, 130);
    }

    [Theory]
    [InlineData(SplitMethod.Hash, null)]
    [InlineData(SplitMethod.Shuffle, null)]
    [InlineData(SplitMethod.Hash, "meta.kind")]
    public void A_file_is_divided_like_its_records_and_keeps_all_fields(SplitMethod method, string? stratify)
    {
        using var folder = new TempFolder();
        string[] lines = [.. Enumerable.Range(0, 300).Select(i => $"{{\"q\":\"frage {i} größer <b>\",\"completion\":\"a\",\"meta\":{{\"kind\":{i % 3},\"id\":{i}}}}}")];
        File.WriteAllLines(folder["in.jsonl"], ["{", .. lines]);
        List<BadLine> bad = [];
        var reading = new DatasetReadOptions { Map = new Dictionary<string, string> { ["prompt"] = "q" }, OnBadLine = bad.Add };
        IReadOnlyDictionary<DatasetPart, long> counts = new DatasetSplitter { Method = method, StratifyBy = stratify }.SplitFile(folder["in.jsonl"], folder.Path, reading);
        Assert.Equal(1, Assert.Single(bad).Line);
        string[] parts = ["train.jsonl", "val.jsonl", "test.jsonl"];
        Assert.Equal(parts.Select(name => (long)File.ReadLines(folder[name]).Count()), counts.Values);
        Assert.Equal(lines.Select(line => $"{line[..^1]},{line[1..line.IndexOf(',')].Replace("\"q\"", "\"prompt\"", StringComparison.Ordinal)}}}").Order(), parts.SelectMany(name => File.ReadLines(folder[name])).Order());
        if (stratify is not null)
        {
            Assert.Equal([240, 30, 30], counts.Values);
        }
    }

    [Fact]
    public void Everything_may_go_to_validation_and_test()
    {
        (IReadOnlyList<TrainingExample> train, IReadOnlyList<TrainingExample> val, IReadOnlyList<TrainingExample> test) = new DatasetSplitter(0, 0.7, 0.3) { StratifyBy = "output" }.Split(Thousand);
        Assert.Equal((0, 700, 300), (train.Count, val.Count, test.Count));
    }

    [Fact]
    public void A_part_without_a_share_is_not_written()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["in.jsonl"], "{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
        Assert.Equal([KeyValuePair.Create(DatasetPart.Train, 2L)], new DatasetSplitter(1, 0, 0).SplitFile(folder["in.jsonl"], folder.Path, new DatasetReadOptions()));
        Assert.Equal(["in.jsonl", "train.jsonl"], Directory.EnumerateFiles(folder.Path).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void A_field_that_is_absent_is_named_with_its_line()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["in.jsonl"], "{\"text\":\"a\",\"user\":1}\n{\"text\":\"b\"}\n");
        var exception = Assert.Throws<InvalidDataException>(() => new DatasetSplitter { GroupBy = "user" }.SplitFile(folder["in.jsonl"], folder.Path, new DatasetReadOptions()));
        Assert.EndsWith("in.jsonl:2: has no 'user' to divide by; it has text.", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0.8, 0.1, 0.2)]
    [InlineData(1.1, -0.1, 0)]
    [InlineData(double.NaN, 0.5, 0.5)]
    public void Shares_that_do_not_add_up_are_refused(double train, double val, double test) =>
        Assert.Contains("their sum must be 1", Assert.Throws<ArgumentException>(() => new DatasetSplitter(train, val, test)).Message, StringComparison.Ordinal);
}
