namespace Nibble.Evaluation.Text;

/// <summary>
/// Moves runs of a prediction's words to where a reference has them, best move first, as long as that saves edits. What is tried, and
/// what wins among equals, is as in sacrebleu, which follows Tercom.
/// </summary>
internal sealed class ShiftSearch
{
    private const int LongestRun = 10;
    private const int FarthestMove = 50;
    private const int MostCandidates = 1000;

    private readonly int[] reference;
    private readonly EditMatrix matrix;
    private int[] words;
    private int candidates;

    private ShiftSearch(int[] prediction, int[] reference)
    {
        this.reference = reference;
        words = prediction;
        matrix = new EditMatrix(reference, prediction.Length);
    }

    /// <summary>Edits from a prediction to a reference, both as numbers of words; a move is one edit.</summary>
    public static int Edits(int[] prediction, int[] reference)
    {
        if (reference.Length == 0 || prediction.Length == 0)
        {
            return prediction.Length + reference.Length;
        }

        var search = new ShiftSearch(prediction, reference);
        int moves = 0;
        while (search.BestMove() is { } moved)
        {
            search.words = moved;
            moves++;
        }

        return moves + search.matrix.Distance(search.words);
    }

    /// <summary>The words after the move that saves most; null where none saves any, or the search has become too long.</summary>
    private int[]? BestMove()
    {
        int distance = matrix.Distance(words);
        Alignment alignment = Alignment.Of(matrix.Path(), words.Length, reference.Length);
        (int Saved, int Length, int Start, int Target) best = (0, 0, 0, 0);
        int[]? moved = null;
        foreach ((int start, int place, int length) in Runs())
        {
            int aligned = alignment.PlaceOf[place];
            bool wrong = alignment.Wrong.AsSpan(start, length).Contains(true) && alignment.Missed.AsSpan(place, length).Contains(true);
            if (!wrong || (aligned >= start && aligned < start + length))
            {
                continue;
            }

            foreach (int target in Enumerable.Range(place - 1, length + 1).Select(before => before < 0 ? 0 : alignment.PlaceOf[before] + 1).Distinct())
            {
                int[] candidate = Moved(start, length, target);
                (int, int, int, int) rank = (distance - matrix.Distance(candidate), length, -start, -target);
                candidates++;
                if (moved is null || rank.CompareTo(best) > 0)
                {
                    (best, moved) = (rank, candidate);
                }
            }

            if (candidates >= MostCandidates)
            {
                return null;
            }
        }

        return best.Saved > 0 ? moved : null;
    }

    /// <summary>Runs of words that both have: where in the prediction, where in the reference, and how long; every beginning of a run is one too.</summary>
    private IEnumerable<(int Start, int Place, int Length)> Runs()
    {
        for (int start = 0; start < words.Length; start++)
        {
            for (int place = Math.Max(0, start - FarthestMove); place < Math.Min(reference.Length, start + FarthestMove + 1); place++)
            {
                for (int length = 1; length <= LongestRun && start + length <= words.Length && place + length <= reference.Length
                    && words[start + length - 1] == reference[place + length - 1]; length++)
                {
                    yield return (start, place, length);
                }
            }
        }
    }

    private int[] Moved(int start, int length, int target)
    {
        int[] run = words[start..(start + length)];
        int[] rest = [.. words[..start], .. words[(start + length)..]];
        // A target within the run counts from its beginning, as if the run had been taken out.
        int at = target > start + length ? target - length : Math.Min(target, rest.Length);
        return [.. rest[..at], .. run, .. rest[at..]];
    }

    /// <param name="PlaceOf">For each word of the reference where it belongs in the prediction; -1: before its first word.</param>
    /// <param name="Wrong">Words of the prediction that are not aligned to their equals.</param>
    /// <param name="Missed">Words of the reference that are not.</param>
    private readonly record struct Alignment(int[] PlaceOf, bool[] Wrong, bool[] Missed)
    {
        public static Alignment Of(List<EditStep> path, int prediction, int reference)
        {
            var alignment = new Alignment(new int[reference], new bool[prediction], new bool[reference]);
            (int i, int j) = (-1, -1);
            foreach (EditStep step in path)
            {
                i += step == EditStep.Insert ? 0 : 1;
                j += step == EditStep.Delete ? 0 : 1;
                if (step != EditStep.Delete)
                {
                    alignment.PlaceOf[j] = i;
                    alignment.Missed[j] = step != EditStep.Match;
                }

                if (step != EditStep.Insert)
                {
                    alignment.Wrong[i] = step != EditStep.Match;
                }
            }

            return alignment;
        }
    }
}
