namespace Nibble.Serving.Tests.Proof;

/// <summary>How much is asked of the service, and how much is done to it.</summary>
/// <param name="Jobs">Jobs that the clients ask for.</param>
/// <param name="Variants">Different ones among those that come to their end.</param>
/// <param name="ServerKills">Kills of a server.</param>
/// <param name="WorkerKills">Kills of a worker.</param>
internal sealed record ProofSize(int Jobs, int Variants, int ServerKills, int WorkerKills)
{
    private const string Variable = "NIBBLE_PROOF";

    /// <summary>Of a part.</summary>
    public static ProofSize Asked { get; } = new(50, 4, 3, 5);

    /// <summary>Each has a chance of its own.</summary>
    public static TheoryData<int> Parts => [1, 2, 3, 4];

    /// <summary>The report to write; null for none.</summary>
    public static string? Report => Environment.GetEnvironmentVariable(Variable);
}
