using System.Globalization;
using Nibble.Serving.Jobs;

namespace Nibble.Serving.OpenAi;

/// <summary>A part of a list, the newest first.</summary>
/// <param name="Data">The items.</param>
/// <param name="HasMore">Whether others follow, to be asked for with <c>after</c> the last of these.</param>
/// <param name="FirstId">The first one's name.</param>
/// <param name="LastId">The last one's.</param>
internal sealed record Page<T>(IReadOnlyList<T> Data, bool HasMore, string? FirstId, string? LastId)
{
    public string Object { get; } = "list";

    /// <summary>As many of the items as were asked for; one more says that others follow.</summary>
    public static Page<T> Of(IEnumerable<T> found, int count, Func<T, string> id)
    {
        List<T> items = [.. found];
        List<T> shown = [.. items.Take(count)];
        return new Page<T>(shown, items.Count > count, shown.Select(id).FirstOrDefault(), shown.Select(id).LastOrDefault());
    }
}

/// <summary>What a list is asked for with.</summary>
internal static class PageSize
{
    /// <exception cref="FieldException">It is no number, or out of range.</exception>
    public static int Of(string? limit, int standard, int most) => limit is null ? standard
        : int.TryParse(limit, NumberStyles.None, CultureInfo.InvariantCulture, out int asked) && asked > 0 && asked <= most ? asked
        : throw new FieldException("limit", $"is '{limit}'; it must lie in 1..{most}");
}
