using Nibble.Data;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training;

/// <summary>Settings of <see cref="InstructionTuner"/>: instructions become chats in the roles layout.</summary>
public sealed record InstructionTuningConfig : TuningConfig
{
    /// <summary>The defaults.</summary>
    public InstructionTuningConfig() => ChatTemplate = NamedTemplate.Roles;

    /// <summary>How instructions become prompts.</summary>
    public PromptStyle PromptFormat { get; init; } = PromptStyle.Chat;
}

/// <summary>Tunes a model to follow instructions: on records of instruction and output, or prompt and completion, of which the answer is learned.</summary>
/// <param name="model">The base model's folder.</param>
/// <param name="config">Null for the defaults.</param>
/// <param name="training">Loop and optimizer; null for the defaults.</param>
public sealed class InstructionTuner(string model, InstructionTuningConfig? config = null, TrainingSection? training = null) : Trainer(model, training)
{
    private readonly InstructionTuningConfig config = config ?? new InstructionTuningConfig();

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">A file holds records of another form.</exception>
    protected override RunConfig Configure(RunConfig run)
    {
        ArgumentNullException.ThrowIfNull(run);
        RequireForm(
            run.Data, [DatasetFormat.Alpaca, DatasetFormat.Completion], $"{nameof(InstructionTuner)} takes instruction/output or prompt/completion, {nameof(ChatTuner)} conversations");
        return config.Apply(run, config.PromptFormat);
    }
}
