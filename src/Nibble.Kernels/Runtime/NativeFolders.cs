using System.Reflection;

namespace Nibble.Kernels.Runtime;

/// <summary>Where native libraries may lie: with the application, or in the NuGet packages folder of a development tree.</summary>
internal static class NativeFolders
{
    private const string Rid = "linux-x64";

    /// <summary>Candidate folders for a native file of <paramref name="package"/>, best first.</summary>
    public static IEnumerable<string> Candidates(string package)
    {
        foreach (string root in ApplicationFolders())
        {
            yield return Path.Combine(root, "runtimes", Rid, "native");
            yield return root;
        }

        string versions = Path.Combine(PackagesFolder(), package);
        if (VersionOf(package) is { } version)
        {
            yield return Path.Combine(versions, version, "runtimes", Rid, "native");
        }
    }

    /// <summary>The application's folder and, where it differs (plug-ins, test hosts), this assembly's own.</summary>
    public static IEnumerable<string> ApplicationFolders()
    {
        string application = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);
        yield return application;
        string own = Path.GetDirectoryName(typeof(NativeFolders).Assembly.Location) ?? "";
        if (own.Length > 0 && own != application)
        {
            yield return own;
        }
    }

    private static string PackagesFolder() =>
        Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } configured
            ? configured
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    /// <summary>The exact version this assembly was built against; the build records it.</summary>
    private static string? VersionOf(string package) =>
        typeof(NativeFolders).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
            .FirstOrDefault(attribute => attribute.Key == $"package:{package}")?.Value;
}
