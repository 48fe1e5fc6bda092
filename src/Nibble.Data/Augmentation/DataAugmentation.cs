using System.Text.Json.Nodes;
using Nibble.Data.Files;
using Nibble.Data.Validation;

namespace Nibble.Data.Augmentation;

/// <summary>Augments a whole file.</summary>
public static class DataAugmentation
{
    /// <summary>Writes each example of a file, followed by those made of it, as JSON lines; the order is that of the file.</summary>
    /// <param name="path">Alpaca or completion records, or conversations of one exchange.</param>
    /// <param name="output">Replaced only when all is written.</param>
    /// <param name="options">How the file is read; an example of which nothing can be made is a bad line too.</param>
    /// <param name="make">Makes examples of one.</param>
    /// <param name="concurrency">Examples in the making at once.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <returns>How many records.</returns>
    /// <exception cref="InvalidDataException">A record is malformed, or nothing can be made of it.</exception>
    public static async Task<int> RunAsync(
        string path,
        string output,
        DatasetReadOptions options,
        Func<TrainingExample, CancellationToken, Task<IReadOnlyList<TrainingExample>>> make,
        int concurrency,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(make);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            return await Task.Run(() => JsonLines.Save(Rows(stop.Token), output), CancellationToken.None).ConfigureAwait(false);
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false); // What is still asked for, nobody waits for.
        }

        IEnumerable<JsonObject> Rows(CancellationToken stopped)
        {
            var making = new Queue<(DatasetLine Line, Task<IReadOnlyList<TrainingExample>> Made)>();
            foreach (DatasetLine line in DatasetReader.ReadLines(path, options))
            {
                making.Enqueue((line, MakeAsync(line, stopped)));
                if (making.Count >= concurrency * 2)
                {
                    foreach (JsonObject row in Finished(making.Dequeue()))
                    {
                        yield return row;
                    }
                }
            }

            while (making.TryDequeue(out (DatasetLine Line, Task<IReadOnlyList<TrainingExample>> Made) item))
            {
                foreach (JsonObject row in Finished(item))
                {
                    yield return row;
                }
            }
        }

        async Task<IReadOnlyList<TrainingExample>> MakeAsync(DatasetLine line, CancellationToken stopped)
        {
            TrainingExample example = DatasetFormatter.ToTraining(line.Record, "augmentation");
            return [example, .. await make(example, stopped).ConfigureAwait(false)];
        }

        IEnumerable<JsonObject> Finished((DatasetLine Line, Task<IReadOnlyList<TrainingExample>> Made) item)
        {
            try
            {
                return item.Made.GetAwaiter().GetResult().Select(example => DatasetFormatter.Format(example));
            }
            catch (Exception exception) when (exception is InvalidDataException or FormatException)
            {
                var bad = new BadLine(path, item.Line.Line, IssueCodes.InvalidRecord, exception.Message.TrimEnd('.'));
                (options.OnBadLine ?? throw new InvalidDataException(bad.ToString(), exception))(bad);
                return [];
            }
        }
    }
}
