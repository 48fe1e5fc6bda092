namespace Nibble.Serving.Workers;

/// <summary>How a worker ended.</summary>
/// <param name="Code">Its exit code; 128 and the signal's number when it was killed.</param>
/// <param name="Error">Its last words on standard error.</param>
internal sealed record WorkerExit(int Code, string Error)
{
    /// <summary>Exit code of a worker that was asked to end.</summary>
    public const int Interrupted = 130;

    private const string Prefix = "nibble: ";

    /// <summary>Whether somebody ended it who has the cluster, and not this service.</summary>
    public bool IsCancelled { get; init; }

    /// <summary>Whether it goes on, and a later server will listen to it.</summary>
    public bool IsLeft { get; init; }

    /// <summary>Whether the worker itself said why it cannot go on, so that another would say the same.</summary>
    public bool IsVerdict => Code is 1 or 2;

    public string Description => IsVerdict || Code == Worker.TryAgain ? Error
        : Code > 128 ? $"the worker was killed by signal {Code - 128}" : $"the worker ended with exit code {Code}: {Error}";

    /// <summary>By what it wrote to standard error, in which libraries may have had a say.</summary>
    public static WorkerExit Of(int code, IEnumerable<string> error)
    {
        string last = error.LastOrDefault(line => line.StartsWith(Prefix, StringComparison.Ordinal)) ?? error.LastOrDefault(line => line.Length > 0) ?? "";
        return new WorkerExit(code, last.StartsWith(Prefix, StringComparison.Ordinal) ? last[Prefix.Length..] : last);
    }
}
