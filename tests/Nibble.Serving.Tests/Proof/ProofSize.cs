namespace Nibble.Serving.Tests.Proof;

/// <summary>How much is asked of the service, and how much is done to it.</summary>
/// <param name="Jobs">Jobs that the clients ask for.</param>
/// <param name="Variants">Different ones among those that come to their end.</param>
/// <param name="ServerKills">Kills of a server.</param>
/// <param name="WorkerKills">Kills of a worker.</param>
internal sealed record ProofSize(int Jobs, int Variants, int ServerKills, int WorkerKills)
{
    private const string Variable = "NIBBLE_PROOF";

    /// <summary>A part of the full size where the variable names a report to write, else one that takes seconds.</summary>
    public static ProofSize Asked => Report is null ? new ProofSize(8, 2, 1, 2) : new ProofSize(50, 4, 3, 5);

    /// <summary>The full edition has four parts, each with a chance of its own.</summary>
    public static TheoryData<int> Parts => Report is null ? [1] : [1, 2, 3, 4];

    /// <summary>The report to write; null for none.</summary>
    public static string? Report => Environment.GetEnvironmentVariable(Variable);
}
