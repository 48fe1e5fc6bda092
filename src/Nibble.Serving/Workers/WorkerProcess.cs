using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Workers;

/// <summary>A worker: this program again, as a child.</summary>
internal sealed class WorkerProcess : IWorker
{
    private const int MostLines = 100;

    /// <summary>What a worker may take to be up.</summary>
    private static readonly TimeSpan Start = TimeSpan.FromMinutes(1);

    private readonly Process process;
    private readonly Stopwatch running = Stopwatch.StartNew();
    private readonly Queue<string> error = new();
    private readonly Lock input = new();
    private Stopwatch? unanswered;
    private volatile bool isUp;

    /// <summary>Starts a worker.</summary>
    /// <param name="command">The program's command that it is.</param>
    /// <param name="order">What it is to do: its first line.</param>
    public WorkerProcess(string command, string order)
    {
        process = Process.Start(WorkerProgram.Start(WorkerProgram.Command(command)))!;
        process.ErrorDataReceived += (_, line) => Remember(line.Data ?? "");
        process.BeginErrorReadLine();
        Tell(order);
    }

    /// <summary>For how long it has not answered; less than none while it may still be starting: a busy machine is no dead worker.</summary>
    public TimeSpan Silence => (Volatile.Read(ref unanswered)?.Elapsed ?? TimeSpan.Zero) - (isUp ? TimeSpan.Zero : Start);

    /// <inheritdoc/>
    public TimeSpan Worked => running.Elapsed;

    /// <inheritdoc/>
    public long Heard => 0;

    /// <summary>Tells it that its server still has the job; it answers.</summary>
    public void Beat()
    {
        Interlocked.CompareExchange(ref unanswered, Stopwatch.StartNew(), null);
        Tell("");
    }

    /// <inheritdoc/>
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
            return WorkerExit.Of(process.ExitCode, error);
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

    /// <summary>Null for what a library prints on its own.</summary>
    public static JsonObject? Parse(string line)
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
