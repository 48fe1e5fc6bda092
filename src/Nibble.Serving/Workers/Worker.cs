using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Nibble.Training;
using Nibble.Training.Reporting;

namespace Nibble.Serving.Workers;

/// <summary>
/// A job's own process, so that a crash takes the job and not the service. It reads a <see cref="WorkerOrder"/> and says how it proceeds
/// in JSON lines: <c>kind</c> (progress, metrics, evaluation, log) and the figures.
/// </summary>
public static class Worker
{
    /// <summary>Runs the job that the input orders, until it is done, the input ends, or it is cancelled.</summary>
    /// <exception cref="OperationCanceledException">The run was stopped; it has saved a checkpoint.</exception>
    public static void Run(TextReader input, TextWriter output, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(input);
        var order = WorkerOrder.Parse(input.ReadLine());
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        new Thread(StopAtEnd) { IsBackground = true }.Start();
        var messages = new Messages(output);
        using FileStream claim = Claim(order.Lock, messages, stop.Token);
        new FineTuner(order.Config, messages).Run(order.Resume, stop.Token);

        void StopAtEnd()
        {
            while (input.ReadLine() is not null)
            {
            }

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

    /// <summary>Waits until no earlier worker of the job is left: one whose service was killed may still be saving its checkpoint.</summary>
    private static FileStream Claim(string path, ITrainingObserver observer, CancellationToken cancellation)
    {
        for (bool told = false; ; told = true)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (File.Exists(path))
            {
                if (!told)
                {
                    observer.Info("Waits for an earlier worker of this job to end.");
                }

                cancellation.WaitHandle.WaitOne(TimeSpan.FromMilliseconds(100));
            }
        }
    }

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
