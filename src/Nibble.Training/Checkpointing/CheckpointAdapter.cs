using Nibble.Modeling.Adapters;
using Nibble.Training.Prompts;

namespace Nibble.Training.Checkpointing;

/// <summary>What makes each checkpoint of an adapter's run an adapter that can be tried: PEFT's settings, and how prompts were written.</summary>
/// <param name="Config">The adapter's settings.</param>
/// <param name="BaseModel">The folder of the model that it is for.</param>
/// <param name="Prompts">What its prompts look like.</param>
internal sealed record CheckpointAdapter(LoraConfig Config, string BaseModel, PromptFormat Prompts)
{
    /// <summary>Says so in a checkpoint's folder, beside the weights.</summary>
    public void Describe(string folder)
    {
        AdapterFolder.SaveConfig(Config, folder, BaseModel);
        Prompts.Save(folder);
    }
}
