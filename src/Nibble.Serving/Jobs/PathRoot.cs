using System.Globalization;
using System.Text;

namespace Nibble.Serving.Jobs;

/// <summary>A folder that paths of requests must not lead out of.</summary>
internal sealed class PathRoot
{
    private readonly string folder;
    private readonly string real;

    public PathRoot(string folder)
    {
        this.folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        real = Real(this.folder);
    }

    /// <summary>
    /// The real path, free of symbolic links, that a request's path means: relative to the root, or absolute and below it. The last parts need
    /// not exist. What is directly in a folder must not lead out either.
    /// </summary>
    /// <exception cref="ArgumentException">The path leads out of the root, or is the root; the message does not say what lies outside.</exception>
    public string Resolve(string path)
    {
        Require(path.Length > 0, "is empty");
        Require(path.Length <= LongestPath, $"is longer than {LongestPath} characters");
        Require(path.Split('/').All(name => Encoding.UTF8.GetByteCount(name) <= LongestName), $"has a name of more than {LongestName} bytes");
        Require(path.EnumerateRunes().All(IsVisible), "has a control character, or another that cannot be seen");
        Require(!path.Any(Lookalikes.Contains) && Marks(path.Normalize(NormalizationForm.FormKC)).SequenceEqual(Marks(path)), "has a letter that passes for a dot or a slash");
        Require(!path.Split('/', '\\').Contains(".."), "must not have '..'");
        string full = Path.GetFullPath(Path.Combine(folder, path));
        Require(IsBelow(full, folder), Outside);
        string resolved = Real(full);
        Require(IsBelow(resolved, real), Outside);
        if (Directory.Exists(resolved))
        {
            Require(Directory.EnumerateFileSystemEntries(resolved).All(entry => IsBelow(Real(entry), real)), "has a link that leads out of the service's folder");
        }

        return resolved;
    }

    /// <summary>A path below the root as requests name it; others as they are.</summary>
    public string? Below(string? path) => path is not null && IsBelow(path, real) ? Path.GetRelativePath(real, path) : path;

    /// <summary>A text in which the folder has a name instead of its path.</summary>
    public string Hide(string text, string name)
    {
        foreach (string path in new[] { real, folder }.Distinct().Where(path => path.Length > 1))
        {
            text = text.Replace($"{path}/", $"{name}/", StringComparison.Ordinal);
        }

        return text;
    }

    /// <summary>Whether a real path lies below the root.</summary>
    public bool Holds(string path) => IsBelow(path, real);

    /// <summary>With the root before it and files behind it, still one that the system takes.</summary>
    private const int LongestPath = 1024;

    /// <summary>What file systems take.</summary>
    private const int LongestName = 255;

    /// <summary>Slashes that no normal form makes one.</summary>
    private const string Lookalikes = "\u2044\u2215\u2216\u29F5\u29F8";

    private const string Outside = "must lie below the service's folder for it";

    /// <summary>What is no valid UTF-16 comes as U+FFFD.</summary>
    private static bool IsVisible(Rune letter) => letter != Rune.ReplacementChar && Rune.GetUnicodeCategory(letter) is not (
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned);

    /// <summary>What paths are divided by, whoever reads them.</summary>
    private static IEnumerable<char> Marks(string path) => path.Where(letter => letter is '.' or '/' or '\\');

    private static bool IsBelow(string path, string root) => path.StartsWith(Path.EndsInDirectorySeparator(root) ? root : $"{root}/", StringComparison.Ordinal);

    /// <summary>Follows symbolic links part by part, as the system does: a link's '..' means the parent of where the link led.</summary>
    private static string Real(string path)
    {
        const int MostLinks = 40;
        int links = 0;
        string place = "/";
        var rest = new Stack<string>(path.Split('/').Reverse());
        while (rest.TryPop(out string? part))
        {
            if (part is "" or ".")
            {
                continue;
            }

            if (part == "..")
            {
                place = Path.GetDirectoryName(place) ?? "/";
                continue;
            }

            string next = Path.Combine(place, part);
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                place = next;
                continue;
            }

            Require(++links <= MostLinks, "has too many symbolic links");
            place = Path.IsPathRooted(target) ? "/" : place;
            foreach (string step in target.Split('/').Reverse())
            {
                rest.Push(step);
            }
        }

        return place;
    }

    private static void Require(bool condition, string problem)
    {
        if (!condition)
        {
            throw new ArgumentException(problem);
        }
    }
}
