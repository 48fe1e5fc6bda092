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

    public string Description => IsVerdict ? Error : Code > 128 ? $"the worker was killed by signal {Code - 128}" : $"the worker ended with exit code {Code}: {Error}";
}

/// <summary>Runs workers: this program again, as a child.</summary>
internal static class WorkerProcess
{
    private const string Prefix = "nibble: ";
    private const int MostLines = 100;

    /// <summary>What a worker needs of this process's environment; keys and the like stay here.</summary>
    private static readonly string[] Inherited =
        ["PATH", "HOME", "TMPDIR", "LANG", "LC_", "TZ", "LD_LIBRARY_PATH", "NUGET_PACKAGES", "XDG_", "DOTNET_", "NIBBLE_", "CUDA_", "NVIDIA_", "OMP_", "MKL_"];

    /// <summary>Runs a worker to its end.</summary>
    /// <param name="order">What it is to do.</param>
    /// <param name="heard">Is called with each message.</param>
    /// <param name="secret">The name of a variable that the worker must not see.</param>
    /// <param name="cancelled">Stops it within about a second.</param>
    /// <param name="draining">Stops it, with time for its step and its checkpoint.</param>
    public static async Task<WorkerExit> RunAsync(
        WorkerOrder order, Func<JsonObject, Task> heard, string? secret, CancellationToken cancelled, CancellationToken draining)
    {
        using Process process = Process.Start(Command(secret))!;
        var error = new Queue<string>();
        process.ErrorDataReceived += (_, line) =>
        {
            error.Enqueue(line.Data ?? "");
            if (error.Count > MostLines)
            {
                error.Dequeue();
            }
        };
        process.BeginErrorReadLine();
        try
        {
            await process.StandardInput.WriteLineAsync(order.ToLine()).ConfigureAwait(false);
            await process.StandardInput.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (IOException)
        {
            // It is gone already; its exit code says more.
        }

        await using CancellationTokenRegistration onCancel = cancelled.Register(() => Stop(process, TimeSpan.FromSeconds(1)));
        await using CancellationTokenRegistration onDrain = draining.Register(() => Stop(process, TimeSpan.FromSeconds(30)));
        try
        {
            while (await process.StandardOutput.ReadLineAsync(CancellationToken.None).ConfigureAwait(false) is { } line)
            {
                if (Parse(line) is { } message)
                {
                    await heard(message).ConfigureAwait(false);
                }
            }

            await process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch
        {
            process.Kill(entireProcessTree: true); // Nobody would listen to it any more.
            throw;
        }

        string last = error.LastOrDefault(line => line.StartsWith(Prefix, StringComparison.Ordinal)) ?? error.LastOrDefault(line => line.Length > 0) ?? "";
        return new WorkerExit(process.ExitCode, last.StartsWith(Prefix, StringComparison.Ordinal) ? last[Prefix.Length..] : last);
    }

    private static ProcessStartInfo Command(string? secret)
    {
        string program = Environment.ProcessPath!;
        bool hosted = Path.GetFileNameWithoutExtension(program) == "dotnet";
        var start = new ProcessStartInfo(program, hosted ? [Environment.GetCommandLineArgs()[0], "worker"] : ["worker"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string name in Environment.GetEnvironmentVariables().Keys.Cast<string>())
        {
            if (name == secret || !Inherited.Any(prefix => name.StartsWith(prefix, StringComparison.Ordinal)))
            {
                start.Environment.Remove(name);
            }
        }

        return start;
    }

    /// <summary>The end of its input asks a worker to save and end; one that takes too long over it is killed, and its last whole checkpoint stays.</summary>
    private static void Stop(Process process, TimeSpan patience)
    {
        process.StandardInput.Close();
        _ = KillAsync();

        async Task KillAsync()
        {
            try
            {
                using var timeout = new CancellationTokenSource(patience);
                await process.WaitForExitAsync(timeout.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
            }
            catch (InvalidOperationException)
            {
                // It has ended and was disposed of.
            }
        }
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
