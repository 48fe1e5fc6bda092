using System.Runtime.InteropServices;
using Nibble.Kernels.Runtime;

namespace Nibble.Kernels.Communication;

/// <summary>native/include/nibble_comm.h, entry by entry, from the library that has it over MPI.</summary>
internal static unsafe partial class LibNibbleComm
{
    public const string Name = "nibble_comm_mpi";

    private const int AbiVersion = 1;
    private const string File = "libnibble_comm_mpi.so";

    private static readonly Lazy<nint> Library = new(Load);

    /// <exception cref="DllNotFoundException">The library is not there, or MPI is not.</exception>
    public static nint Handle => Library.Value;

    /// <summary>Throws what a failed call says of itself.</summary>
    /// <exception cref="IOException">The network failed, or a rank did not come in time.</exception>
    public static void Check(int status)
    {
        if (status != 0)
        {
            string text = Marshal.PtrToStringUTF8(nibble_comm_last_error()) ?? "unknown error";
            throw status switch
            {
                LibNibble.InvalidArgument => new ArgumentException(text),
                LibNibble.DeviceError => new IOException(text),
                _ => new InvalidOperationException(text),
            };
        }
    }

    /// <summary>MPI's own plug-ins look for its symbols among those of the process, so they are made visible.</summary>
    private static nint Load()
    {
        string? path = NativeFolders.Candidates().Select(folder => Path.Combine(folder, File)).FirstOrDefault(System.IO.File.Exists);
        string problem = $"{File} was not found beside the application in {AppContext.BaseDirectory}";
        if (path is not null)
        {
            try
            {
                nint handle = DynamicLoader.LoadGlobal(path);
                int found = ((delegate* unmanaged<int>)NativeLibrary.GetExport(handle, "nibble_comm_abi_version"))();
                return found == AbiVersion ? handle
                    : throw new DllNotFoundException($"{path} has ABI version {found}, this engine needs {AbiVersion}: the files are of different builds.");
            }
            catch (DllNotFoundException exception)
            {
                problem = exception.Message;
            }
        }

        throw new DllNotFoundException($"Runs of several processes need MPI: install Open MPI and build with './build.sh --target=Distributed'. ({problem})");
    }

    [LibraryImport(Name)]
    private static partial nint nibble_comm_last_error();

    [LibraryImport(Name)]
    public static partial int nibble_comm_init();

    [LibraryImport(Name)]
    public static partial int nibble_comm_finalize();

    [LibraryImport(Name)]
    public static partial void nibble_comm_abort(int code);

    [LibraryImport(Name)]
    public static partial int nibble_comm_rank();

    [LibraryImport(Name)]
    public static partial int nibble_comm_size();

    [LibraryImport(Name)]
    public static partial int nibble_comm_sharers();

    [LibraryImport(Name)]
    public static partial int nibble_comm_set_timeout(double seconds);

    [LibraryImport(Name)]
    public static partial int nibble_comm_broadcast(nint data, long bytes, int root, nint* request);

    [LibraryImport(Name)]
    public static partial int nibble_comm_all_reduce(int dtype, nint data, long count, nint* request);

    [LibraryImport(Name)]
    public static partial int nibble_comm_reduce_scatter(int dtype, nint values, long* counts, nint share, nint* request);

    [LibraryImport(Name)]
    public static partial int nibble_comm_all_gather(nint share, long* bytes, nint all, nint* request);

    [LibraryImport(Name)]
    public static partial int nibble_comm_barrier(nint* request);

    [LibraryImport(Name)]
    public static partial int nibble_comm_wait(nint request);
}
