namespace Nibble.Modeling.Tokenizers;

/// <summary>
/// Byte-pair merging (arXiv:1508.07909): the pair of lowest rank is joined first, the leftmost of equals. Short pieces are
/// searched, long ones use a queue, so that a megabyte without a space is not quadratic.
/// </summary>
internal sealed class BpeMerger(Dictionary<long, (int Rank, int Id)> merges)
{
    private const int LongPiece = 48;

    private static readonly (int Rank, int Id) NoMerge = (int.MaxValue, -1);

    /// <summary>A token under way and the part of the piece it stands for.</summary>
    public record struct Symbol(int Id, int Start, int End);

    public static long Key(int left, int right) => ((long)left << 32) | (uint)right;

    /// <summary>Merges in place; returns how many of <paramref name="symbols"/> are left, from the first on.</summary>
    public int Merge(Span<Symbol> symbols)
    {
        if (symbols.Length > LongPiece)
        {
            return MergeLong(symbols);
        }

        // What each symbol would become with the next: a merge changes two of these, so only those are looked up again.
        Span<(int Rank, int Id)> pairs = stackalloc (int Rank, int Id)[LongPiece];
        int count = symbols.Length;
        for (int i = 0; i + 1 < count; i++)
        {
            pairs[i] = Pair(symbols[i].Id, symbols[i + 1].Id);
        }

        while (count > 1)
        {
            int best = 0;
            for (int i = 1; i + 1 < count; i++)
            {
                if (pairs[i].Rank < pairs[best].Rank)
                {
                    best = i;
                }
            }

            if (pairs[best] == NoMerge)
            {
                break;
            }

            symbols[best] = new Symbol(pairs[best].Id, symbols[best].Start, symbols[best + 1].End);
            symbols[(best + 2)..count].CopyTo(symbols[(best + 1)..]);
            pairs[(best + 1)..(count - 1)].CopyTo(pairs[best..]);
            count--;
            if (best > 0)
            {
                pairs[best - 1] = Pair(symbols[best - 1].Id, symbols[best].Id);
            }

            if (best + 1 < count)
            {
                pairs[best] = Pair(symbols[best].Id, symbols[best + 1].Id);
            }
        }

        return count;
    }

    private (int Rank, int Id) Pair(int left, int right) => merges.TryGetValue(Key(left, right), out (int Rank, int Id) merge) ? merge : NoMerge;

    private int MergeLong(Span<Symbol> symbols)
    {
        int count = symbols.Length;
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

        int left = 0;
        for (int i = 0; i < count; i = next[i])
        {
            symbols[left++] = all[i];
        }

        return left;
    }
}
