namespace Nibble.Kernels.Runtime;

/// <summary>Where native libraries may lie: with the application, or where its build says that it left them.</summary>
internal static class NativeFolders
{
    private const string Rid = "linux-x64";

    /// <summary>Written beside an application by the engine's build targets: one line, the folder of libtorch.</summary>
    private const string NoteOfBuild = "libtorch.path";

    /// <summary>The folders to look in, best first.</summary>
    public static IEnumerable<string> Candidates()
    {
        foreach (string root in ApplicationFolders())
        {
            yield return Path.Combine(root, "runtimes", Rid, "native");
            yield return root;
            string note = Path.Combine(root, NoteOfBuild);
            if (File.Exists(note))
            {
                yield return File.ReadAllText(note).Trim();
            }
        }
    }

    /// <summary>The application's folder and, where it differs (plug-ins, test hosts), this assembly's own.</summary>
    private static IEnumerable<string> ApplicationFolders()
    {
        string application = Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory);
        yield return application;
        string own = Path.GetDirectoryName(typeof(NativeFolders).Assembly.Location) ?? "";
        if (own.Length > 0 && own != application)
        {
            yield return own;
        }
    }
}
