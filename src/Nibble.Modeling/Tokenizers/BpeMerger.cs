namespace Nibble.Modeling.Tokenizers;

/// <summary>
/// Byte-pair merging (arXiv:1508.07909): the pair of lowest rank is joined first, the leftmost of equals. Short pieces are
/// searched, long ones use a queue, so that a megabyte without a space is not quadratic.
/// </summary>
internal sealed class BpeMerger(Dictionary<long, (int Rank, int Id)> merges)
{
    private const int LongPiece = 48;

    /// <summary>A token under way and the part of the piece it stands for.</summary>
    public record struct Symbol(int Id, int Start, int End);

    public static long Key(int left, int right) => ((long)left << 32) | (uint)right;

    public List<Symbol> Merge(List<Symbol> symbols)
    {
        if (symbols.Count > LongPiece)
        {
            return MergeLong(symbols);
        }

        while (symbols.Count > 1)
        {
            (int bestRank, int bestId, int at) = (int.MaxValue, 0, -1);
            for (int i = 0; i + 1 < symbols.Count; i++)
            {
                if (merges.TryGetValue(Key(symbols[i].Id, symbols[i + 1].Id), out (int Rank, int Id) merge) && merge.Rank < bestRank)
                {
                    (bestRank, bestId, at) = (merge.Rank, merge.Id, i);
                }
            }

            if (at < 0)
            {
                break;
            }

            symbols[at] = new Symbol(bestId, symbols[at].Start, symbols[at + 1].End);
            symbols.RemoveAt(at + 1);
        }

        return symbols;
    }

    private List<Symbol> MergeLong(List<Symbol> symbols)
    {
        int count = symbols.Count;
        var previous = new int[count];
        var next = new int[count];
        var queue = new PriorityQueue<(int Left, int LeftId, int Right, int RightId, int Id), (int Rank, int Left)>();
        Symbol[] all = [.. symbols];

        void Offer(int left, int right)
        {
            if (left >= 0 && right < count && merges.TryGetValue(Key(all[left].Id, all[right].Id), out (int Rank, int Id) merge))
            {
                queue.Enqueue((left, all[left].Id, right, all[right].Id, merge.Id), (merge.Rank, left));
            }
        }

        for (int i = 0; i < count; i++)
        {
            (previous[i], next[i]) = (i - 1, i + 1);
            Offer(i - 1, i);
        }

        while (queue.TryDequeue(out (int Left, int LeftId, int Right, int RightId, int Id) pair, out _))
        {
            // An offer is stale once either side has been merged with something else.
            if (all[pair.Left].Id != pair.LeftId || next[pair.Left] != pair.Right || all[pair.Right].Id != pair.RightId)
            {
                continue;
            }

            all[pair.Left] = new Symbol(pair.Id, all[pair.Left].Start, all[pair.Right].End);
            all[pair.Right].Id = -1;
            next[pair.Left] = next[pair.Right];
            if (next[pair.Left] < count)
            {
                previous[next[pair.Left]] = pair.Left;
            }

            Offer(previous[pair.Left], pair.Left);
            Offer(pair.Left, next[pair.Left]);
        }

        var result = new List<Symbol>();
        for (int i = 0; i < count; i = next[i])
        {
            result.Add(all[i]);
        }

        return result;
    }
}
