using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Nibble.Training;
using Nibble.Training.Checkpointing;
using Nibble.Training.Reporting;

namespace Nibble.Serving.Workers;

/// <summary>
/// A job's own process, so that a crash takes the job and not the service. It reads a <see cref="WorkerOrder"/> and says how it proceeds
/// in JSON lines: <c>kind</c> (progress, metrics, evaluation, log, alive) and the figures.
/// </summary>
public static class Worker
{
    /// <summary>Exit code of a worker whose job may come through in another one (EX_TEMPFAIL of sysexits.h).</summary>
    public const int TryAgain = 75;

    /// <summary>Runs the job that the input orders, until it is done, its server is silent or asks it to end, or it is cancelled.</summary>
    /// <exception cref="OperationCanceledException">The run was stopped; it has saved a checkpoint.</exception>
    /// <exception cref="PassingFailureException">Something failed that another attempt may not meet: disk, memory, a device.</exception>
    public static void Run(TextReader input, TextWriter output, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(input);
        var order = WorkerOrder.Parse(input.ReadLine());
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var messages = new Messages(TextWriter.Synchronized(output));
        using var lease = new Timer(_ => Stop());
        Renew();
        messages.Alive(); // It is up.
        new Thread(Listen) { IsBackground = true }.Start();
        try
        {
            using RunClaim claim = RunClaim.Take(order, messages, stop.Token);
            while (!TryTrain(order, messages, stop.Token))
            {
            }
        }
        catch (Exception exception) when (!IsVerdict(exception))
        {
            throw new PassingFailureException(exception.Message, exception);
        }

        void Listen()
        {
            while (input.ReadLine() is not null)
            {
                Renew();
                messages.Alive();
            }

            Stop();
        }

        void Renew() => lease.Change(TimeSpan.FromSeconds(order.LeaseSeconds), Timeout.InfiniteTimeSpan);

        void Stop()
        {
            try
            {
                stop.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // The run was faster.
            }
        }
    }

    /// <summary>Whether the run came to its end; else its newest checkpoint was damaged, and is out of the way.</summary>
    private static bool TryTrain(WorkerOrder order, Messages messages, CancellationToken cancellation)
    {
        try
        {
            new FineTuner(order.Config, messages).Run(resume: order.Attempt > 1, cancellation);
            return true;
        }
        catch (InvalidDataException exception) when (order.Attempt > 1 && DamagedCheckpoint.SetAside(exception) is { } damaged)
        {
            messages.Info($"{damaged} is damaged; the run goes on from the checkpoint before it, or from its beginning.");
            return false;
        }
    }

    /// <summary>Whether another attempt would come to the same: the request, its model or its data are wrong, or it was asked to end.</summary>
    private static bool IsVerdict(Exception exception) => exception is OperationCanceledException or InvalidDataException or ArgumentException or NotSupportedException
        or UnauthorizedAccessException or TrainingDivergedException or FileNotFoundException or DirectoryNotFoundException or EndOfStreamException;

    private sealed class Messages(TextWriter output) : ITrainingObserver
    {
        private static readonly JsonSerializerOptions Json = new()
        {
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
            NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
            DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        };

        private static readonly TimeSpan Pause = TimeSpan.FromSeconds(0.2);

        private readonly Stopwatch sinceProgress = Stopwatch.StartNew();
        private int shown;

        public void Alive() => Say("alive", new { });

        public void Info(string message) => Say("log", new { message });

        public void Progress(int done, int totalSteps, double loss)
        {
            if (shown == 0 || done == totalSteps || sinceProgress.Elapsed > Pause)
            {
                shown = done;
                sinceProgress.Restart();
                Say("progress", new { step = done, total_steps = totalSteps, loss });
            }
        }

        public void Logged(StepMetrics metrics) => Say("metrics", metrics);

        public void Evaluated(EvalMetrics metrics) => Say("evaluation", metrics);

        private void Say<T>(string kind, T figures)
        {
            JsonObject message = JsonSerializer.SerializeToNode(figures, Json)!.AsObject();
            message.Insert(0, "kind", kind);
            output.WriteLine(message.ToJsonString());
        }
    }
}

/// <summary>Something failed for a reason that may pass.</summary>
/// <param name="message">What failed.</param>
/// <param name="inner">As it was told.</param>
public sealed class PassingFailureException(string message, Exception inner) : Exception(message, inner);
