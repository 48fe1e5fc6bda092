namespace Nibble.Training;

/// <summary>What a run would do.</summary>
/// <param name="Config">The resolved configuration, as JSON.</param>
/// <param name="Notes">What reading the data said.</param>
/// <param name="TrainExamples">Examples to train on.</param>
/// <param name="EvalExamples">Examples to evaluate on.</param>
/// <param name="FirstExample">Its tokens as text, and which are learned.</param>
/// <param name="Memory">An estimate of the memory needed.</param>
public sealed record DryRun(
    string Config, IReadOnlyList<string> Notes, int TrainExamples, int EvalExamples, IReadOnlyList<(string Token, bool Learned)> FirstExample, MemoryEstimate Memory);
