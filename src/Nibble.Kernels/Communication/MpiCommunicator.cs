using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>Processes that mpirun or srun started, over MPI, in the host's memory.</summary>
internal sealed class MpiCommunicator : NativeCommunicator, IMeeting
{
    /// <summary>Joins the other processes.</summary>
    /// <exception cref="DllNotFoundException">MPI, or the library over it, is not there.</exception>
    public MpiCommunicator()
        : base(Joined())
    {
    }

    /// <inheritdoc/>
    public override Device Device => CPU;

    /// <summary>Processes that may run on the very processors that this one may run on, itself among them.</summary>
    public static unsafe int Sharers => ((delegate* unmanaged<int>)CommLibrary.Mpi.Export("sharers"))();

    /// <inheritdoc/>
    public byte[] Share(byte[] ofRank0) => this.BroadcastBytes(ofRank0);

    /// <inheritdoc/>
    public string? Missing(TimeSpan limit)
    {
        try
        {
            LimitWaits(limit);
            Barrier().Wait();
            return null;
        }
        catch (IOException exception)
        {
            return exception.Message[(exception.Message.IndexOf(' ', StringComparison.Ordinal) + 1)..]; // Less the operation's name.
        }
    }

    /// <inheritdoc/>
    protected override nint Address(Tensor tensor, string name) => TensorMemory.Address(tensor, name);

    private static unsafe CommLibrary Joined()
    {
        CommLibrary library = CommLibrary.Mpi;
        library.Check(((delegate* unmanaged<int>)library.Export("init"))());
        return library;
    }
}
