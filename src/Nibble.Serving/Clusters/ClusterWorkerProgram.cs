using System.Text.Json.Nodes;
using Nibble.Serving.Workers;

namespace Nibble.Serving.Clusters;

/// <summary>A job's worker on a cluster, where no pipe leads to its server: it lives until a file in its folder says that it is enough, and says there how it ended.</summary>
public static class ClusterWorkerProgram
{
    /// <summary>Runs the job that the folder orders; see <see cref="Worker.Run"/>.</summary>
    /// <param name="folder">Through which it talks with its server.</param>
    /// <param name="endOf">The exit code and the words that an exception comes to.</param>
    /// <param name="cancellation">Ends it.</param>
    public static void Run(string folder, Func<Exception, (int Code, string Words)> endOf, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(endOf);
        if (!Directory.Exists(folder))
        {
            throw new ArgumentException($"{folder} is not here; the service's folders must have the same paths on all machines.");
        }

        var exchange = new Exchange(folder);
        using TextWriter output = TextWriter.Synchronized(exchange.OpenToSay());
        try
        {
            Worker.Run(new Orders(exchange), output, cancellation);
            End(0, "");
        }
        catch (Exception exception)
        {
            (int code, string words) = endOf(exception);
            End(code, words);
            throw;
        }

        void End(int code, string words) => output.WriteLine(new JsonObject { ["kind"] = ClusterWorker.End, ["code"] = code, ["error"] = words }.ToJsonString());
    }

    /// <summary>The order, then a line now and then for as long as nobody says that it is enough.</summary>
    private sealed class Orders(Exchange exchange) : TextReader
    {
        private static readonly TimeSpan Glance = TimeSpan.FromSeconds(0.1);

        private TimeSpan pause;

        public override string? ReadLine()
        {
            if (pause == TimeSpan.Zero)
            {
                string line = exchange.ReadOrder();
                pause = TimeSpan.FromSeconds(WorkerOrder.Parse(line).LeaseSeconds / Attempt.Renewals);
                return line;
            }

            for (long end = Environment.TickCount64 + (long)pause.TotalMilliseconds; Environment.TickCount64 < end;)
            {
                if (exchange.IsStopped)
                {
                    return null;
                }

                Thread.Sleep(Glance);
            }

            return "";
        }
    }
}
