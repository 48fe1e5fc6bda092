using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Configuration;

namespace Nibble.Training;

/// <summary>What a run would do.</summary>
/// <param name="Config">The resolved configuration.</param>
/// <param name="Notes">What reading the data said.</param>
/// <param name="TrainExamples">Examples to train on.</param>
/// <param name="EvalExamples">Examples to evaluate on.</param>
/// <param name="FirstExample">Its tokens.</param>
/// <param name="Memory">An estimate of the memory needed.</param>
/// <param name="Plan">How it fits into the memory that was named; null when none was.</param>
public sealed record DryRun(
    RunConfig Config, IReadOnlyList<string> Notes, int TrainExamples, int EvalExamples, IReadOnlyList<ExamplePiece> FirstExample, MemoryEstimate Memory, MemoryPlan? Plan)
{
    /// <summary>All of it as JSON, the keys as configuration files spell them.</summary>
    public string ToJson() => ConfigBinder.ToJson(this);
}

/// <summary>A token of an example.</summary>
/// <param name="Text">What it adds to the text before it; the number of the token where the model has no tokenizer.</param>
/// <param name="Learned">Whether it is learned.</param>
public sealed record ExamplePiece(string Text, bool Learned)
{
    /// <summary>Each token as what it adds to the text before it, for a token alone may lose its space or half a character.</summary>
    /// <param name="example">The tokens.</param>
    /// <param name="tokenizer">Null where the model has none.</param>
    public static IReadOnlyList<ExamplePiece> Of(EncodedExample example, HfTokenizer? tokenizer)
    {
        ArgumentNullException.ThrowIfNull(example);
        var pieces = new List<ExamplePiece>();
        string text = "";
        for (int i = 0; i < example.InputIds.Length; i++)
        {
            string longer = tokenizer?.Decode(example.InputIds.Take(i + 1), skipSpecialTokens: false) ?? $"{text}{example.InputIds[i]} ";
            pieces.Add(new ExamplePiece(longer[Math.Min(text.Length, longer.Length)..], example.Labels[i] >= 0));
            text = longer;
        }

        return pieces;
    }
}
