using System.Runtime.InteropServices;
using Nibble.Kernels.Runtime;

namespace Nibble.Kernels.Communication;

/// <summary>native/include/nibble_comm.h, from one of the libraries that have it.</summary>
internal sealed unsafe class CommLibrary
{
    private const int AbiVersion = 3;

    private static readonly Lazy<CommLibrary> OverMpi = new(() => new CommLibrary(
        "libnibble_comm_mpi.so", "Runs of several processes need MPI: install Open MPI and build with './build.sh --target=Distributed'."));

    private static readonly Lazy<CommLibrary> OverNccl = new(() => new CommLibrary(
        "libnibble_comm_nccl.so", "Runs on several GPUs need it: './build.sh --target=Build' compiles it."));

    private readonly nint handle;
    private readonly delegate* unmanaged<nint> lastError;

    /// <summary>MPI's own plug-ins look for its symbols among those of the process, so they are made visible.</summary>
    private CommLibrary(string file, string remedy)
    {
        string? path = NativeFolders.Candidates().Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);
        string problem = $"{file} was not found beside the application in {AppContext.BaseDirectory}";
        try
        {
            handle = path is null ? 0 : DynamicLoader.LoadGlobal(path);
        }
        catch (DllNotFoundException exception)
        {
            problem = exception.Message;
        }

        if (handle == 0)
        {
            throw new DllNotFoundException($"{remedy} ({problem})");
        }

        int found = ((delegate* unmanaged<int>)Export("abi_version"))();
        if (found != AbiVersion)
        {
            throw new DllNotFoundException($"{path} has ABI version {found}, this engine needs {AbiVersion}: the files are of different builds.");
        }

        lastError = (delegate* unmanaged<nint>)Export("last_error");
        Leave = (delegate* unmanaged<int>)Export("finalize");
        Abort = (delegate* unmanaged<int, void>)Export("abort");
        Rank = (delegate* unmanaged<int>)Export("rank");
        Size = (delegate* unmanaged<int>)Export("size");
        SetTimeout = (delegate* unmanaged<double, int>)Export("set_timeout");
        Broadcast = (delegate* unmanaged<nint, long, int, nint*, int>)Export("broadcast");
        AllReduce = (delegate* unmanaged<int, nint, long, nint*, int>)Export("all_reduce");
        ReduceScatter = (delegate* unmanaged<int, nint, long*, nint, nint*, int>)Export("reduce_scatter");
        AllGather = (delegate* unmanaged<nint, long*, nint, nint*, int>)Export("all_gather");
        Barrier = (delegate* unmanaged<nint*, int>)Export("barrier");
        Wait = (delegate* unmanaged<nint, int>)Export("wait");
    }

    /// <summary>Over MPI.</summary>
    /// <exception cref="DllNotFoundException">The library is not there, or MPI is not.</exception>
    public static CommLibrary Mpi => OverMpi.Value;

    /// <summary>Over NCCL, which it loads when it is first asked for an id.</summary>
    /// <exception cref="DllNotFoundException">The library is not there.</exception>
    public static CommLibrary Nccl => OverNccl.Value;

    public readonly delegate* unmanaged<int> Leave;
    public readonly delegate* unmanaged<int, void> Abort;
    public readonly delegate* unmanaged<int> Rank;
    public readonly delegate* unmanaged<int> Size;
    public readonly delegate* unmanaged<double, int> SetTimeout;
    public readonly delegate* unmanaged<nint, long, int, nint*, int> Broadcast;
    public readonly delegate* unmanaged<int, nint, long, nint*, int> AllReduce;
    public readonly delegate* unmanaged<int, nint, long*, nint, nint*, int> ReduceScatter;
    public readonly delegate* unmanaged<nint, long*, nint, nint*, int> AllGather;
    public readonly delegate* unmanaged<nint*, int> Barrier;
    public readonly delegate* unmanaged<nint, int> Wait;

    /// <summary>An entry that only this library has, by its name after <c>nibble_comm_</c>.</summary>
    public nint Export(string name) => NativeLibrary.GetExport(handle, "nibble_comm_" + name);

    /// <summary>Throws what a failed call says of itself.</summary>
    /// <exception cref="IOException">The network failed, or a rank did not come in time.</exception>
    public void Check(int status)
    {
        if (status != 0)
        {
            string text = Marshal.PtrToStringUTF8(lastError()) ?? "unknown error";
            throw status switch
            {
                LibNibble.InvalidArgument => new ArgumentException(text),
                LibNibble.DeviceError => new IOException(text),
                _ => new InvalidOperationException(text),
            };
        }
    }
}
