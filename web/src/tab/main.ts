import "../styles/app.css";

import { mount } from "svelte";

import Alone from "./Alone.svelte";

mount(Alone, { target: document.body });
