using System.Text;

namespace Nibble.Evaluation.Predictions;

/// <summary>
/// Writes predictions as JSON lines with <c>index</c>, <c>prompt</c>, <c>prediction</c> and <c>references</c>, each at once, so that an interrupted
/// run can go on with the same file.
/// </summary>
public sealed class PredictionWriter : IDisposable
{
    private readonly FileStream file;

    /// <summary>Opens a file, new or begun, to write after what it has.</summary>
    /// <param name="path">The file; a last line without an end was cut off and is removed.</param>
    /// <exception cref="InvalidDataException">Another line is no prediction, or has the index of an earlier one; the message has file, line and reason.</exception>
    public PredictionWriter(string path)
    {
        CutUnended(path);
        Written = [.. PredictionFile.Read(path)];
        file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read);
    }

    /// <summary>What the file had when it was opened, in the file's order.</summary>
    public IReadOnlyList<Prediction> Written { get; }

    /// <summary>Adds one.</summary>
    public void Write(Prediction prediction)
    {
        ArgumentNullException.ThrowIfNull(prediction);
        file.Write(Encoding.UTF8.GetBytes(prediction.ToJson() + "\n"));
        file.Flush();
    }

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    private static void CutUnended(string path)
    {
        using var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite);
        long end = file.Length;
        for (; end > 0; end--)
        {
            file.Position = end - 1;
            if (file.ReadByte() == '\n')
            {
                break;
            }
        }

        file.SetLength(end);
    }
}
