using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Nibble.Kernels.Cuda;

namespace Nibble.Kernels.Runtime;

/// <summary>
/// Loads libtorch and TorchSharp's binding of it before anything asks for them.
/// </summary>
/// <remarks>
/// Two things would go wrong if the default probing were left to itself. A development tree would need a copy of
/// libtorch (480 MB) beside every project, so the shared objects are loaded by path from the NuGet packages folder, or
/// from the folder that the environment variable NIBBLE_LIBTORCH names: that of a Python torch of the same version will do.
/// And the binding asks for a newer libstdc++ than Debian 12 and Ubuntu 22.04 have, see <see cref="CompatibleBinding"/>.
/// </remarks>
public static class LibTorch
{
    internal const string BindingName = "LibTorchSharp";
    internal const string CoreName = "c10";
    private const string BindingFile = "libLibTorchSharp.so";
    private const string TorchFile = "libtorch_cpu.so";
    private const string TorchVariable = "NIBBLE_LIBTORCH";

    /// <summary>libtorch's shared objects, dependencies first; the OpenMP runtime leads because libnibble shares it.</summary>
    private static readonly string[] TorchFiles = ["libgomp-98b21ff3.so.1", "libc10.so", TorchFile, "libc10_cuda.so", "libtorch_cuda.so", "libtorch.so"];

    private static readonly Lazy<nint> Binding = new(Load);

    private static bool isPrepared;

    /// <summary>
    /// Runs when the assembly is first used, so that no caller has to remember to. libtorch itself is loaded when TorchSharp is,
    /// before TorchSharp searches for it: a program that touches no tensor, as the service, has no use for its 150 MB.
    /// </summary>
#pragma warning disable CA2255 // The one library-level initializer: TorchSharp offers no other hook before its first P/Invoke.
    [ModuleInitializer]
    internal static void Register()
#pragma warning restore CA2255
    {
        NativeLibrary.SetDllImportResolver(typeof(LibTorch).Assembly, (name, _, _) => Resolve(name));
        if (LoadsByPath)
        {
            AppDomain.CurrentDomain.AssemblyLoad += (_, loaded) => Prepare(loaded.LoadedAssembly);
            Array.ForEach(AppDomain.CurrentDomain.GetAssemblies(), Prepare);
        }
    }

    private static void Prepare(Assembly assembly)
    {
        if (assembly.GetName().Name == nameof(TorchSharp) && !Interlocked.Exchange(ref isPrepared, true))
        {
            NativeLibrary.SetDllImportResolver(assembly, (name, _, _) => Resolve(name));
            try
            {
                EnsureLoaded();
            }
            catch (DllNotFoundException)
            {
                // Whoever needs tensors hears of it where EnsureLoaded is called; here nobody would.
            }
        }
    }

    /// <summary>Loads libtorch and its binding now instead of with TorchSharp, or says why that failed.</summary>
    /// <exception cref="DllNotFoundException">libtorch is neither beside the application nor where its build left it.</exception>
    public static void EnsureLoaded()
    {
        if (LoadsByPath)
        {
            _ = Binding.Value;
        }
    }

    private static bool LoadsByPath => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64;

    /// <summary>Zero leaves a name to the default probing.</summary>
    private static nint Resolve(string name) => name switch
    {
        LibNibble.Name => LibNibble.Handle,
        LibCudaDriver.Name => LibCudaDriver.Handle,
        BindingName when LoadsByPath => Binding.Value,
        CoreName when LoadsByPath => NativeLibrary.Load(Path.Combine(TorchFolder(), "libc10.so")),
        _ => 0,
    };

    private static nint Load()
    {
        OpenMpRuntime.SleepSoon();
        string torchFolder = TorchFolder();
        // Builds for the CPU have no libtorch_cuda; the OpenMP runtime's name differs between builds, and libtorch brings its own.
        foreach (string path in TorchFiles.Select(file => Path.Combine(torchFolder, file)).Where(File.Exists))
        {
            DynamicLoader.LoadGlobal(path);
        }

        string binding = Path.Combine(Find(BindingFile), BindingFile);
        return DynamicLoader.LoadGlobal(CompatibleBinding.PathFor(binding));
    }

    /// <summary>Whether libtorch is the one of the packages that this engine is built against, and not another's of about its version.</summary>
    internal static bool IsThePackages => Named is null;

    private static string? Named => Environment.GetEnvironmentVariable(TorchVariable) is { Length: > 0 } folder ? folder : null;

    private static string TorchFolder()
    {
        if (Named is not { } named)
        {
            return Find(TorchFile);
        }

        return File.Exists(Path.Combine(named, TorchFile)) ? named : throw new DllNotFoundException($"{TorchVariable} is {named}, where there is no {TorchFile}.");
    }

    /// <summary>The folder that holds <paramref name="file"/>: beside the application, or where its build says.</summary>
    private static string Find(string file)
    {
        var tried = new List<string>();
        foreach (string folder in NativeFolders.Candidates())
        {
            if (File.Exists(Path.Combine(folder, file)))
            {
                return folder;
            }

            tried.Add(folder);
        }

        throw new DllNotFoundException(
            $"{file} was not found. Looked in: {string.Join(", ", tried)}. Build the application again on this machine, or run what 'dotnet publish' made of it.");
    }
}
