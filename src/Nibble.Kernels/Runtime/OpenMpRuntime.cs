using System.Runtime.InteropServices;

namespace Nibble.Kernels.Runtime;

/// <summary>How the threads of libtorch and libnibble wait for each other.</summary>
internal static partial class OpenMpRuntime
{
    private const string SpinCount = "GOMP_SPINCOUNT";
    private const string WaitPolicy = "OMP_WAIT_POLICY";

    /// <summary>
    /// Turns of a thread's loop before it sleeps. By default they last some milliseconds, for which it keeps a core from whoever
    /// could work: two runs on two cores took fifteen times as long as they do with this many.
    /// </summary>
    private const string FewTurns = "1000";

    /// <summary>What a process's own environment says of it; libgomp reads that once, when it is loaded.</summary>
    public static string? Turns => Marshal.PtrToStringUTF8(GetVariable(SpinCount));

    /// <summary>Lets waiting threads sleep soon, unless whoever started the process has chosen otherwise.</summary>
    public static void SleepSoon()
    {
        if (GetVariable(WaitPolicy) == 0)
        {
            _ = SetVariable(SpinCount, FewTurns, overwrite: 0);
        }
    }

    /// <summary>.NET's own environment is a copy that native code does not see.</summary>
    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetVariable(string name, string value, int overwrite);

    [LibraryImport("libc", EntryPoint = "getenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint GetVariable(string name);
}
