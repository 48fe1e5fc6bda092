using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Workers;

/// <summary>How a worker ended.</summary>
/// <param name="Code">Its exit code; 128 and the signal's number when it was killed.</param>
/// <param name="Error">Its last words on standard error.</param>
internal sealed record WorkerExit(int Code, string Error)
{
    /// <summary>Whether the worker itself said why it cannot go on, so that another would say the same.</summary>
    public bool IsVerdict => Code is 1 or 2;

    public string Description => IsVerdict || Code == Worker.TryAgain ? Error
        : Code > 128 ? $"the worker was killed by signal {Code - 128}" : $"the worker ended with exit code {Code}: {Error}";
}

/// <summary>A worker: this program again, as a child.</summary>
internal sealed class WorkerProcess : IDisposable
{
    private const string Prefix = "nibble: ";
    private const int MostLines = 100;

    /// <summary>What a worker may take to be up.</summary>
    private static readonly TimeSpan Start = TimeSpan.FromMinutes(1);

    /// <summary>What a worker needs of this process's environment; keys and the like stay here.</summary>
    private static readonly string[] Inherited =
        ["PATH", "HOME", "TMPDIR", "LANG", "LC_", "TZ", "LD_LIBRARY_PATH", "NUGET_PACKAGES", "XDG_", "DOTNET_", "NIBBLE_", "CUDA_", "NVIDIA_", "OMP_", "MKL_"];

    private readonly Process process;
    private readonly Queue<string> error = new();
    private readonly Lock input = new();
    private Stopwatch? unanswered;
    private volatile bool isUp;

    /// <summary>Starts a worker.</summary>
    /// <param name="command">The program's command that it is.</param>
    /// <param name="order">What it is to do: its first line.</param>
    public WorkerProcess(string command, string order)
    {
        process = Process.Start(Command(command))!;
        process.ErrorDataReceived += (_, line) => Remember(line.Data ?? "");
        process.BeginErrorReadLine();
        Tell(order);
    }

    /// <summary>For how long it has not answered; less than none while it may still be starting: a busy machine is no dead worker.</summary>
    public TimeSpan Silence => (Volatile.Read(ref unanswered)?.Elapsed ?? TimeSpan.Zero) - (isUp ? TimeSpan.Zero : Start);

    /// <summary>Tells it that its server still has the job; it answers.</summary>
    public void Beat()
    {
        Interlocked.CompareExchange(ref unanswered, Stopwatch.StartNew(), null);
        Tell("");
    }

    /// <summary>Listens until it ends.</summary>
    /// <param name="heard">Is called with each message.</param>
    /// <param name="stop">Ends it.</param>
    public async Task<WorkerExit> ListenAsync(Action<JsonObject> heard, StopOrder stop)
    {
        await using CancellationTokenRegistration onAsked = stop.Asked.Register(CloseInput);
        await using CancellationTokenRegistration onKilled = stop.Killed.Register(Kill);
        while (await process.StandardOutput.ReadLineAsync(CancellationToken.None).ConfigureAwait(false) is { } line)
        {
            Volatile.Write(ref unanswered, null);
            isUp = true;
            if (Parse(line) is { } message)
            {
                heard(message);
            }
        }

        await process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
        lock (error)
        {
            string last = error.LastOrDefault(line => line.StartsWith(Prefix, StringComparison.Ordinal)) ?? error.LastOrDefault(line => line.Length > 0) ?? "";
            return new WorkerExit(process.ExitCode, last.StartsWith(Prefix, StringComparison.Ordinal) ? last[Prefix.Length..] : last);
        }
    }

    /// <summary>Nobody listens to it any more, so it ends.</summary>
    public void Dispose()
    {
        Kill();
        process.Dispose();
    }

    public void Kill() => process.Kill(); // Which does nothing to one that has ended.

    private void Remember(string line)
    {
        lock (error)
        {
            error.Enqueue(line);
            if (error.Count > MostLines)
            {
                error.Dequeue();
            }
        }
    }

    private void CloseInput()
    {
        lock (input)
        {
            try
            {
                process.StandardInput.Close();
            }
            catch (IOException)
            {
                // It is gone already.
            }
        }
    }

    /// <summary>Writes a line to it; one that is gone hears nothing.</summary>
    public void Tell(string line)
    {
        lock (input)
        {
            try
            {
                if (process.StandardInput.BaseStream.CanWrite)
                {
                    process.StandardInput.WriteLine(line);
                    process.StandardInput.Flush();
                }
            }
            catch (Exception exception) when (exception is IOException or ObjectDisposedException)
            {
                // It is gone already, and its exit code says more; or it was told to end.
            }
        }
    }

    private static ProcessStartInfo Command(string command)
    {
        string program = Environment.ProcessPath!;
        bool hosted = Path.GetFileNameWithoutExtension(program) == "dotnet";
        var start = new ProcessStartInfo(program, hosted ? [Environment.GetCommandLineArgs()[0], command] : [command])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string name in Environment.GetEnvironmentVariables().Keys.Cast<string>())
        {
            if (!Inherited.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal)))
            {
                start.Environment.Remove(name);
            }
        }

        return start;
    }

    /// <summary>Null for what a library prints on its own.</summary>
    private static JsonObject? Parse(string line)
    {
        try
        {
            return JsonNode.Parse(line) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
