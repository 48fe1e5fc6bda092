using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests.Proof;

/// <summary>What is to become of a job, whatever happens to servers and workers.</summary>
internal enum Fate
{
    /// <summary>It completes.</summary>
    Completed,

    /// <summary>It fails by the fault of who asked for it: an example is none.</summary>
    Failed,

    /// <summary>It is cancelled before or while it runs.</summary>
    Cancelled,
}

/// <summary>A job that a client asks for.</summary>
/// <param name="Output">Its folder, and its name to who asks twice.</param>
/// <param name="Variant">Which seed, data and length it has.</param>
/// <param name="Fate">What is to become of it.</param>
internal sealed record ProofJob(string Output, int Variant, Fate Fate)
{
    public const string BadData = "bad.jsonl";

    private const int Parts = 3;
    private const int Endless = 100_000;

    /// <summary>Steps of a job that completes.</summary>
    public int Steps => 5 + (Variant % 4);

    /// <summary>Jobs in an order of chance, a twentieth of them for each other fate, and at least one.</summary>
    public static IReadOnlyList<ProofJob> Plan(ProofSize size, Random random)
    {
        int others = Math.Max(1, size.Jobs / 20);
        Fate[] fates = [.. Enumerable.Range(0, size.Jobs).Select(i => i < others ? Fate.Failed : i < 2 * others ? Fate.Cancelled : Fate.Completed)];
        random.Shuffle(fates);
        return [.. fates.Select((fate, i) => new ProofJob($"proof-{i:000}", i % size.Variants, fate))];
    }

    /// <summary>Writes what jobs learn from.</summary>
    public static void WriteData(Service service)
    {
        string[] lines = File.ReadAllLines(service["data/train.jsonl"]);
        for (int part = 0; part < Parts; part++)
        {
            File.WriteAllLines(service[$"data/part-{part}.jsonl"], lines.Where((_, i) => i % Parts == part));
        }

        File.WriteAllLines(service[$"data/{BadData}"], [lines[0], """{"prompt": 3}"""]);
    }

    public JsonObject Request()
    {
        JsonObject request = Service.Request(Output, Fate == Fate.Cancelled ? Endless : Steps, new JsonObject { ["seed"] = 1000 + Variant });
        request["training_data_path"] = Fate == Fate.Failed ? BadData : $"part-{Variant % Parts}.jsonl";
        return request;
    }
}
