namespace Nibble.Evaluation.Text;

/// <summary>How a word of a prediction and one of a reference are aligned.</summary>
internal enum EditStep : byte
{
    /// <summary>The same word.</summary>
    Match,

    /// <summary>One for the other.</summary>
    Substitute,

    /// <summary>A word that only the prediction has.</summary>
    Delete,

    /// <summary>A word that only the reference has.</summary>
    Insert,
}

/// <summary>
/// Levenshtein distances from the beginnings of a prediction to those of a reference, in a beam around the diagonal as sacrebleu searches
/// them; predictions of the same length share the rows of what they begin with.
/// </summary>
internal sealed class EditMatrix
{
    private const int Beam = 25;
    private const int Unreached = int.MaxValue / 2;

    private readonly int[] reference;
    private readonly int[][] costs;
    private readonly EditStep[][] steps;
    private int[] prediction = [];

    /// <param name="reference">Words as numbers.</param>
    /// <param name="length">Words of the predictions.</param>
    public EditMatrix(int[] reference, int length)
    {
        this.reference = reference;
        costs = [.. Enumerable.Range(0, length + 1).Select(_ => new int[reference.Length + 1])];
        steps = [.. costs.Select(line => new EditStep[line.Length])];
        costs[0] = [.. Enumerable.Range(0, reference.Length + 1)];
        Array.Fill(steps[0], EditStep.Insert);
    }

    /// <summary>Edits from a prediction to the reference.</summary>
    public int Distance(int[] words)
    {
        int same = prediction.AsSpan().CommonPrefixLength(words);
        for (int i = same + 1; i <= words.Length; i++)
        {
            Fill(i, words[i - 1]);
        }

        prediction = words;
        return costs[words.Length][^1];
    }

    /// <summary>The edits of the prediction measured last, from the beginning.</summary>
    public List<EditStep> Path()
    {
        var path = new List<EditStep>();
        for ((int i, int j) = (prediction.Length, reference.Length); i > 0 || j > 0;)
        {
            EditStep step = steps[i][j];
            path.Add(step);
            i -= step == EditStep.Insert ? 0 : 1;
            j -= step == EditStep.Delete ? 0 : 1;
        }

        path.Reverse();
        return path;
    }

    private void Fill(int i, int word)
    {
        int length = costs.Length - 1;
        double ratio = (double)reference.Length / length;
        // Wide enough to meet the row above also where the lengths differ by much.
        int beam = Beam < ratio / 2 ? (int)Math.Ceiling((ratio / 2) + Beam) : Beam;
        int diagonal = (int)Math.Floor(i * ratio);
        int first = Math.Max(0, diagonal - beam);
        int end = i == length ? reference.Length + 1 : Math.Min(reference.Length + 1, diagonal + beam);
        int[] above = costs[i - 1];
        int[] line = costs[i];
        Array.Fill(line, Unreached);
        for (int j = first; j < end; j++)
        {
            (int Cost, EditStep Step) best = (above[j] + 1, EditStep.Delete);
            if (j > 0)
            {
                // Of equals: match or substitute before delete before insert.
                (int Cost, EditStep Step) across = word == reference[j - 1] ? (above[j - 1], EditStep.Match) : (above[j - 1] + 1, EditStep.Substitute);
                best = across.Cost <= best.Cost ? across : best;
                best = line[j - 1] + 1 < best.Cost ? (line[j - 1] + 1, EditStep.Insert) : best;
            }

            (line[j], steps[i][j]) = best;
        }
    }
}
