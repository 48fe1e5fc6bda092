namespace Nibble.Data;

/// <summary>Finds what somebody may have meant by a name that does not exist.</summary>
public static class NearestName
{
    /// <summary>Which of some things has the name at the least edit distance, letter case aside; the first of equals.</summary>
    /// <param name="name">What was written.</param>
    /// <param name="known">What there is, at least one.</param>
    /// <param name="nameOf">Its name.</param>
    public static T Of<T>(string name, IEnumerable<T> known, Func<T, string> nameOf) =>
        known.MinBy(item => Distance(nameOf(item).ToLowerInvariant(), name.ToLowerInvariant()))!;

    /// <summary>Levenshtein's edit distance.</summary>
    private static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int above = row[j];
                row[j] = Math.Min(Math.Min(row[j] + 1, row[j - 1] + 1), diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }

        return row[^1];
    }
}
