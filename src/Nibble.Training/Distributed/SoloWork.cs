using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>
/// What rank 0 does alone with a model that the ranks have only together, such as answering a prompt or writing the weights. The others
/// are told what it needs, and bring their shares until it is through.
/// </summary>
/// <param name="world">The processes.</param>
/// <param name="model">The model.</param>
/// <param name="units">Its parameters.</param>
/// <param name="gather">Collects a parameter by its number; all ranks take part.</param>
internal sealed class SoloWork(ICommunicator world, DecoderModel model, ParameterUnits units, Func<int, Tensor> gather)
{
    private const long Through = -2;
    private const long Pass = -1;

    private bool isOn;

    /// <summary>Does work on rank 0, where its result is returned; all ranks call this.</summary>
    public T? Do<T>(Func<T> work)
    {
        if (world.Rank == 0)
        {
            isOn = true;
            T result = work(); // What it throws ends all processes.
            isOn = false;
            Tell(Through);
            return result;
        }

        for (long message = Tell(); message != Through; message = Tell())
        {
            if (message == Pass)
            {
                foreach ((int unit, int? next, _) in model.UnitsOfPass(training: false))
                {
                    units.Use(unit, next);
                }
            }
            else
            {
                gather((int)message).Dispose();
            }
        }

        return default;
    }

    /// <summary>A pass of the model begins, in this work or in what all ranks do.</summary>
    public void BeginPass()
    {
        if (isOn)
        {
            Tell(Pass);
        }
    }

    /// <summary>A whole parameter, the caller's.</summary>
    public Tensor Whole(int parameter)
    {
        Tell(parameter);
        return gather(parameter);
    }

    private long Tell(long message = 0)
    {
        using Tensor said = tensor([message], ScalarType.Int64);
        world.Broadcast(said).Wait();
        return said.data<long>()[0];
    }
}
