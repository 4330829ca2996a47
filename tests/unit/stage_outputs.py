"""The outputs of the stages of a network, shallow to deep."""


def stages(model, images):
    names = [f"stage{number + 1}" for number in range(len(model.stages))]
    found = model.outputs(images, names)
    return {name: found[name] for name in names}
